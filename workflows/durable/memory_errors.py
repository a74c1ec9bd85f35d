"""Ending a worker process that has run out of memory.

The client library catches MemoryError like any other: a question is answered with it, a workflow task or an
activity fails and is tried again in the same process, which has no more memory then. So the process ends at
once, with exit code ``OUT_OF_MEMORY`` and a line on stderr; whatever started it starts it again, and what it
was at is done by another process meanwhile, as after a kill.

An interceptor around everything that runs in workflows and activities; what fails outside them (decoding,
building a run) is seen by ``process.out_of_memory``.
"""

from __future__ import annotations

from typing import Any

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

from timeline_workers.process.exit_codes import ExitCode
from timeline_workers.process.out_of_memory import ending_without_memory

# Made now: then there may be no memory for it.
LINE = (
    f"error: out of memory: the worker process ends with exit code {ExitCode.OUT_OF_MEMORY}, to be started "
    "again; raise its memory limit, run more processes, or lower TIMELINE_MAX_CACHED_WORKFLOWS "
    "(`timeline capacity` says what a metric needs)\n"
).encode()


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
        with ending_without_memory(LINE):
            return await super().execute_activity(input)


class _Workflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        with ending_without_memory(LINE):
            return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        with ending_without_memory(LINE):
            await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        with ending_without_memory(LINE):
            return await super().handle_query(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        with ending_without_memory(LINE):
            return await super().handle_update_handler(input)
