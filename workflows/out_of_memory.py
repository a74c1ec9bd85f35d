"""Ending a worker process that has run out of memory.

The client library catches MemoryError like any other: a question is answered with it, a workflow task or an
activity fails and is tried again in the same process, which has no more memory then. So the process ends at
once, with exit code ``EXIT_CODE`` and a line on stderr; whatever started it starts it again, and what it was
at is done by another process meanwhile, as after a kill.

Two nets: an interceptor around everything that runs in workflows and activities, and a look at the errors
that the client library logs, for what fails outside them (decoding, building a run).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any, NoReturn

from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

EXIT_CODE = 6
# Made now: then there may be no memory for it.
_LINE = (
    f"error: out of memory: the worker process ends with exit code {EXIT_CODE}, to be started again; raise "
    "its memory limit, run more processes, or lower TIMELINE_MAX_CACHED_WORKFLOWS (`timeline capacity` says "
    "what a metric needs)\n"
).encode()


def end() -> NoReturn:
    """Say so and end the process, without cleaning up: that takes memory."""
    with contextlib.suppress(OSError):
        os.write(2, _LINE)
    os._exit(EXIT_CODE)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error`` is a MemoryError, or was raised because of one."""
    seen = 0
    while error is not None and seen < 32:
        if isinstance(error, MemoryError):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def watch_the_log() -> None:
    """End the process, from now on, when anything logs an exception that comes of a MemoryError."""
    make = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.exc_info and is_out_of_memory(record.exc_info[1]):
            end()
        return record

    logging.setLogRecordFactory(factory)


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            end()
        raise


class EndWhenOutOfMemory(Interceptor):
    """Ends the process when a workflow or an activity raises MemoryError."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Watch activities, local ones too."""
        return _Activity(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """Watch workflows: their run, signals, queries and updates."""
        return _Workflow


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        with _ending():
            return await super().execute_activity(input)


class _Workflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        with _ending():
            return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        with _ending():
            await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        with _ending():
            return await super().handle_query(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        with _ending():
            return await super().handle_update_handler(input)
