"""Asking workers that run. Temporal answers for a workflow that has ended, too, from where it ended: whoever
goes by such an answer takes a worker that is gone for one that stands still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowQueryRejectedError
from temporalio.common import QueryRejectCondition
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import TimelineError
from workflows.worker_status import WorkerStatus

_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a worker that runs; ``first``: the id of the one that it goes on from, with which the worker
    began.
    """

    first: str
    run_id: str


class Ended(Enum):
    """What there is of a worker that has ended."""

    ENDED = "ended"


ENDED = Ended.ENDED


class NotRunningError(TimelineError):
    """A worker that was never started, or has ``ended``."""

    def __init__(self, worker: str, *, ended: bool) -> None:
        super().__init__(f"worker {worker} {'has ended' if ended else 'was never started'}")
        self.ended = ended


async def query_running(
    client: Client, worker: str, query: str, *, run_id: str | None = None, timeout: timedelta
) -> Any:
    """Ask the run of ``worker`` that runs now; with ``run_id``, that run and no other.

    Raises NotRunningError when it does not run, RPCError and WorkflowQueryFailedError as the client does.
    """
    try:
        return await client.get_workflow_handle(worker, run_id=run_id).query(
            query, reject_condition=QueryRejectCondition.NOT_OPEN, rpc_timeout=timeout
        )
    except WorkflowQueryRejectedError as error:
        raise NotRunningError(worker, ended=True) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise NotRunningError(worker, ended=False) from error
        raise


async def running_status(
    client: Client, worker: str, *, run_id: str | None = None, timeout: timedelta
) -> WorkerStatus:
    """What the run of ``worker`` says of itself; see ``query_running``, which raises for this, too."""
    said = await query_running(client, worker, "status", run_id=run_id, timeout=timeout)
    return WorkerStatus.model_validate(said)


async def run_of(client: Client, worker: str) -> Run | Ended | None:
    """The run of ``worker``, without asking it; ENDED, or None where there never was one. Raises RPCError."""
    try:
        found = await client.get_workflow_handle(worker).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    if found.status is not WorkflowExecutionStatus.RUNNING:
        return ENDED
    info = found.raw_description.workflow_execution_info
    return Run(info.first_run_id, info.execution.run_id)


async def runs_of(client: Client, workers: Sequence[str]) -> dict[str, Run | Ended | None]:
    """``run_of`` each of ``workers``. Raises RPCError."""
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def one(worker: str) -> Run | Ended | None:
        async with slots:
            return await run_of(client, worker)

    return dict(zip(workers, await asyncio.gather(*map(one, workers)), strict=True))
