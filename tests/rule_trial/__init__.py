"""Tests of trials of alert rules."""
