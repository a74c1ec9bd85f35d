"""The leaf workers as delivery knows them: signalled, asked and started; on Temporal they are workflows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, Protocol

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.plan.physical import WorkerSpec
from workflows.client.running import Run, run_of, running_status
from workflows.client.start import ensure_workers
from workflows.worker_status import WorkerStatus

_QUERY_TIMEOUT = timedelta(seconds=10)


class LeafWorkers(Protocol):
    """Reaches leaf workers. A worker goes on in one run after another, and may be ended by anybody.

    All calls raise RPCError, or another error that may pass (``retry.unavailable``).
    """

    async def run_of(self, worker: str) -> Run | None:
        """The run of ``worker`` that runs now; None when there is none."""

    async def status(self, worker: str, run_id: str | None) -> WorkerStatus:
        """What ``worker`` answers to ``status``; with ``run_id``, what that run does and no other.

        Raises NotRunningError when it does not run.
        """

    async def signal(self, worker: str, run_id: str | None, signal: str, *arguments: Any) -> bool:
        """Return when the signal is accepted for good; False when that run (None: any) does not go on."""

    async def start(
        self, specs: Sequence[WorkerSpec], metrics: Sequence[str], others: Sequence[WorkerSpec]
    ) -> Collection[str]:
        """Start those of ``specs`` that do not run, and return their ids; ``others`` hear them, too."""


class TemporalLeafWorkers:
    """Leaf workers that are workflows (see ``LeafWorkers``)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run_of(self, worker: str) -> Run | None:
        """See ``LeafWorkers``."""
        found = await run_of(self._client, worker)
        return found if isinstance(found, Run) else None

    async def status(self, worker: str, run_id: str | None) -> WorkerStatus:
        """See ``LeafWorkers``; raises WorkflowQueryFailedError, too."""
        return await running_status(self._client, worker, run_id=run_id, timeout=_QUERY_TIMEOUT)

    async def signal(self, worker: str, run_id: str | None, signal: str, *arguments: Any) -> bool:
        """See ``LeafWorkers``."""
        try:
            await self._client.get_workflow_handle(worker, run_id=run_id).signal(signal, args=arguments)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def start(
        self, specs: Sequence[WorkerSpec], metrics: Sequence[str], others: Sequence[WorkerSpec]
    ) -> Collection[str]:
        """See ``LeafWorkers``."""
        return (await ensure_workers(self._client, specs, metrics=metrics, others=others)).started
