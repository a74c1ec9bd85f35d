"""Repair of the workers of all registered metrics: restarting those that were ended by hand, and mending
edges on which a worker waits for what will not come.

A leaf is missed at its next event (``leaves``). Nobody sends a derived worker anything but its inputs, which
set its edge aside; and whoever started a worker afresh may have been killed before it told those who hear it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from feeder.metric_catalog import Catalog
from timeline_workers.errors import TimelineError
from timeline_workers.plan.output_workers import Subscribing
from workflows.client.edge_repair import inputs_of, mend_edges
from workflows.client.running import ENDED, Ended, Run, runs_of
from workflows.client.start import ensure_workers
from workflows.durable.activities import signal_worker
from workflows.outputs.start_outputs import ensure_outputs, has_history
from workflows.reconciling.start_reconcilers import ensure_reconcilers
from workflows.registry import HISTORY_OUTPUT, running

log = structlog.get_logger("feeder")

FIRST_SECONDS = 5.0
# A look describes every worker, which costs it nothing: at most ten a second.
LOOK_SECONDS = 20.0
SECONDS_PER_WORKER = 0.1


class Repair:
    """What one feeder process has seen of the workers when it looked last."""

    def __init__(self, client: Client, catalog: Catalog) -> None:
        self._client, self._catalog = client, catalog
        self._runs: dict[str, Run | Ended | None] = {}
        self._unsure: set[str] = set()
        self._ended_histories = False

    async def go_on(self, stop: asyncio.Event) -> None:
        """Look after the workers until ``stop``; where Temporal does not answer, look again later."""
        pause = FIRST_SECONDS
        while not await _stopped(stop, pause):
            pause = LOOK_SECONDS
            try:
                pause = max(pause, SECONDS_PER_WORKER * await self.look())
            except (RPCError, TimelineError) as error:
                log.warning("cannot check the workers; retrying later", error=str(error))
            except Exception:
                # Whatever it is, what it is about must not be left alone for good.
                log.exception("checking the workers failed; retrying later")

    async def look(self) -> int:
        """Look once, and mend what is found; returns how many workers there are. Raises RPCError."""
        specs = await self._catalog.all_workers()
        history = await asyncio.to_thread(has_history)
        outputs = await self._catalog.outputs(history=history)
        if not history:
            await self._end_histories()
        reconcilers = await self._catalog.reconcilers()
        runs = await runs_of(self._client, [*specs, *outputs, *reconcilers])
        before, self._runs = self._runs, runs
        # What was never started a moment ago its driver may be about to start.
        lost = {w for w, run in runs.items() if run is ENDED or (run is None and before.get(w, 0) is None)}
        if lost:
            await self._start(lost)
        changed = {worker for worker, run in runs.items() if before.get(worker) != run} | lost
        anew = lost | {worker for worker in changed if _is_anew(before.get(worker), runs[worker])}
        if any(worker in specs and specs[worker].node.is_leaf for worker in anew):
            self._catalog.look_again()  # also where no event comes that would miss it
        self._unsure |= changed
        await self._mend({**specs, **outputs, **reconcilers})
        return len(runs)

    async def _start(self, lost: set[str]) -> None:
        wanted = await self._catalog.all_workers()  # a metric may have been deleted, and its workers ended
        outputs = await self._catalog.outputs(history=await asyncio.to_thread(has_history))
        reconcilers = await self._catalog.reconcilers()
        others: list[Subscribing] = [*wanted.values(), *outputs.values(), *reconcilers.values()]
        for worker, spec in wanted.items():  # children first
            if worker in lost:
                metrics = self._catalog.metrics_of(worker)
                result = await ensure_workers(self._client, [spec], metrics=metrics, others=others)
                if result.started:
                    log.warning("worker had ended; restarted it", worker=worker)

        missing = [spec for worker, spec in outputs.items() if worker in lost]
        for worker in await ensure_outputs(self._client, missing):
            log.warning("an output's worker had ended and has been started again", worker=worker)
        for worker in await ensure_reconcilers(self._client, [reconcilers[w] for w in lost & {*reconcilers}]):
            log.warning("a reconciler's worker had ended and has been started again", worker=worker)

    async def _end_histories(self) -> None:
        """End the workers that tell a history store where there is none: they hold up others."""
        if self._ended_histories:
            return
        async for found in self._client.list_workflows(running(HISTORY_OUTPUT)):
            if await signal_worker(self._client, found.id, "stop", "there is no history store any more"):
                log.warning("no history store is set; a worker that stored revisions ends", worker=found.id)
        self._ended_histories = True

    async def _mend(self, specs: Mapping[str, Subscribing]) -> None:
        """Mend the edges of workers that are in another run than before: only these can have lost any."""
        unsure = self._unsure
        near = [s for w, s in specs.items() if w in unsure or not unsure.isdisjoint(inputs_of(s))]
        broken = await mend_edges(self._client, near)
        for edge in broken:
            log.warning("broken edge; its subscriber resubscribes", subscriber=edge.reader, cause=edge.why)
        self._unsure = {edge.reader for edge in broken}


def _is_anew(before: Run | Ended | None, now: Run | Ended | None) -> bool:
    """Whether a worker was ended since, whoever has started it again."""
    return isinstance(before, Run) and not (isinstance(now, Run) and now.first == before.first)


async def _stopped(stop: asyncio.Event, within: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), within)
    except TimeoutError:
        return False
    return True
