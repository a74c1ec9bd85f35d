"""Reconcilers: functions that make the world agree with the current value of a timeline."""
