"""Refusal of signals and updates whose arguments do not fit their handler.

Anybody may signal a workflow or send it an update, also from the command line or Temporal's web page. What
cannot be decoded is dropped by the client library, with a line in the log; but arguments that are too few,
too many, null or bytes instead of an object raise an error in the handler, which fails the workflow task,
again and again: one `temporal workflow signal` without an input would stop a worker until somebody resets it.
Such signals are dropped in the same way, and such updates refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)


class RefuseIllArguments(Interceptor):
    """Drops signals, and refuses updates, that no call of their handler fits."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """Look at the signals and updates of every workflow."""
        return _Workflow


class _Workflow(WorkflowInboundInterceptor):
    async def handle_signal(self, input: HandleSignalInput) -> None:
        try:
            _check(workflow.get_signal_handler(input.signal), input.args)
        except TypeError as error:
            workflow.logger.error("dropped signal %s with wrong arguments: %s", input.signal, error)
            return
        await super().handle_signal(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        _check_update(input)
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        _check_update(input)  # there may be no validator
        return await super().handle_update_handler(input)


def _check_update(input: HandleUpdateInput) -> None:
    try:
        # The client library's own handler takes anything; updates are named like their methods.
        _check(getattr(workflow.instance(), input.update, None), input.args)
    except TypeError as error:
        raise ApplicationError(
            f"update {input.update} has wrong arguments: {error}", type="BadArguments", non_retryable=True
        ) from None


def _check(handler: Callable[..., Any] | None, arguments: Sequence[Any]) -> None:
    """Raise TypeError unless ``handler`` can be called with ``arguments``: nothing is null, and bytes are
    where bytes are declared; these two are handed over as they are, whatever was declared.
    """
    if handler is None:
        return
    signature = inspect.signature(handler)
    for name, argument in signature.bind(*arguments).arguments.items():
        # As it is written: in Temporal's sandbox the types themselves may be others.
        declared = signature.parameters[name].annotation
        if argument is None or isinstance(argument, bytes) != (declared == "bytes"):
            raise TypeError(f"{name} is {type(argument).__name__}, and {declared} is declared")
