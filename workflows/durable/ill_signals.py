"""Dropping signals whose arguments do not fit their handler.

Anybody may signal a workflow, also from the command line or Temporal's web page. What cannot be decoded is
dropped by the client library, with a line in the log; but arguments that are too few, too many, null or bytes
instead of an object raise an error in the handler, which fails the workflow task, again and again: one
`temporal workflow signal` without an input would stop a worker until somebody resets it. Such signals are
dropped in the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from temporalio import workflow
from temporalio.worker import (
    HandleSignalInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)


class DropIllSignals(Interceptor):
    """Drops signals that no call of their handler fits."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """Look at the signals of every workflow."""
        return _Workflow


class _Workflow(WorkflowInboundInterceptor):
    async def handle_signal(self, input: HandleSignalInput) -> None:
        handler = workflow.get_signal_handler(input.signal)
        if handler is not None:
            try:
                _check(handler, input.args)
            except TypeError as error:
                workflow.logger.error("dropped signal %s with wrong arguments: %s", input.signal, error)
                return
        await super().handle_signal(input)


def _check(handler: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Raise TypeError unless ``handler`` can be called with ``arguments``: nothing is null, and bytes are
    where bytes are declared; these two are handed over as they are, whatever was declared.
    """
    signature = inspect.signature(handler)
    for name, argument in signature.bind(*arguments).arguments.items():
        # As it is written: in Temporal's sandbox the types themselves may be others.
        declared = signature.parameters[name].annotation
        if argument is None or isinstance(argument, bytes) != (declared == "bytes"):
            raise TypeError(f"{name} is {type(argument).__name__}, and {declared} is declared")
