"""Reconcilers on Temporal: the workers that know what is to be called, and the activity that calls."""
