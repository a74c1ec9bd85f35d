"""Reconcilers: functions that make the world agree with the current value of a timeline."""

from .reconciler_declaration import Context, Level, PermanentError, Reconciler, RetryAfter, reconciler

__all__ = ["Context", "Level", "PermanentError", "Reconciler", "RetryAfter", "reconciler"]
