"""Signals that every worker with an inbox takes: its end, its next run, an input that was started afresh.

A class that defines ``_input`` and ``_inbox`` has them by inheriting from ``RunSignals``. Handlers only
remember: what they say is done by the run, between two of its steps.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from workflows.durable.inbox import Inbox

Input = TypeVar("Input", bound=BaseModel)


class RunSignals(Generic[Input]):
    """The signals. ``_input``: that of the run, with a field ``continue_as_new_after``."""

    _input: Input
    _inbox: Inbox

    @workflow.signal
    def resubscribe(self, worker_id: str) -> None:
        """Open the edge from an input anew: it was started afresh and does not know its subscribers."""
        self._inbox.put("resubscribe", worker_id.encode())

    @workflow.signal
    def stop(self, reason: str = "stopped") -> None:
        """End the worker: it unsubscribes from its inputs and returns."""
        self._inbox.put("stop", reason.encode())

    @workflow.signal
    def continue_as_new(self) -> None:
        """Begin a new run now, as for a drill; nothing is lost."""
        self._input = self._input.model_copy(update={"continue_as_new_after": 0})
