"""Upgrades: releases before this one run for real, and this one goes on where they were."""
