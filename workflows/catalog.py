"""The registry of metrics: one workflow that every driver, feeder and command line agrees with.

Registering and removing are updates, one after the other; reading is a query, which sees every update that
has been answered. A worker is wanted while some registered metric's plan has it. So "who needs this worker"
is computed from the definitions and can never drift; the metric names that workers carry are for people.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import TimelineError
    from timeline_workers.graph.plan import plan
    from timeline_workers.metric import Metric

    from . import catalog_activities
    from .messages import (
        CatalogEntry,
        CatalogState,
        ConfirmInput,
        ConfirmResult,
        RegisterResult,
        RemoveResult,
        StopInput,
    )
    from .start import all_workers


@workflow.defn
class MetricCatalog:
    """Holds the registered metrics, and ends the workers that no metric needs any more."""

    @workflow.init
    def __init__(self, state: CatalogState) -> None:
        self._entries = {entry.metric.name: entry for entry in state.entries}
        self._version = state.version
        self._lock = asyncio.Lock()
        self._needs: dict[int, tuple[list[str], list[str]]] = {}

    @workflow.run
    async def run(self, state: CatalogState) -> None:
        """Run for ever, continuing as new when Temporal suggests it."""
        await workflow.wait_condition(lambda: workflow.info().is_continue_as_new_suggested())
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(self._state())

    @workflow.query
    def metrics(self) -> list[CatalogEntry]:
        """The registered metrics by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def _state(self) -> CatalogState:
        return CatalogState(version=self._version, entries=tuple(self.metrics()))

    @workflow.query
    def routing(self) -> CatalogState:
        """What a feeder needs: the registered metrics, and a version that grows with every change."""
        return self._state()

    @workflow.update
    async def register(self, metric: Metric) -> RegisterResult:
        """Register a definition; the same again changes nothing, another of the same name replaces it.

        Replacing ends the workers that only the old definition needed, and waits until they have ended.
        """
        async with self._lock:
            try:
                plan(metric)
            except TimelineError as error:
                raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error
            old = self._entries.get(metric.name)
            if old is not None and old.metric == metric:
                return RegisterResult(name=metric.name, outcome="unchanged", generation=old.generation)
            self._version += 1
            entry = CatalogEntry(metric=metric, generation=self._version)
            self._entries[metric.name] = entry
            stopped = () if old is None else (await self._release(old))[0]
            return RegisterResult(
                name=metric.name,
                outcome="new" if old is None else "replaced",
                generation=entry.generation,
                stopped=stopped,
            )

    @workflow.update
    async def remove(self, name: str) -> RemoveResult:
        """Remove a metric, end the workers that no other metric needs, and wait until they have ended."""
        async with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                raise ApplicationError(
                    unknown_metric(name, self._entries), type="UnknownNameError", non_retryable=True
                )
            # First the definition: a feeder that finds a leaf missing must not start it again.
            del self._entries[name]
            self._version += 1
            stopped, kept = await self._release(entry)
            return RemoveResult(name=name, stopped=stopped, kept=kept)

    @workflow.update
    async def confirm(self, question: ConfirmInput) -> ConfirmResult:
        """Whether a generation of a metric is still registered; ends those of ``workers`` that nobody needs
        if not.

        A driver asks at its end: the metric may have been removed or replaced while its workers were started.
        """
        async with self._lock:
            entry = self._entries.get(question.name)
            if entry is not None and entry.generation == question.generation:
                return ConfirmResult(current=True)
            wanted = self._wanted()
            stopped = await self._stop(
                StopInput(metric=question.name, stop=tuple(w for w in question.workers if w not in wanted))
            )
            return ConfirmResult(current=False, stopped=stopped)

    def _need(self, entry: CatalogEntry) -> tuple[list[str], list[str]]:
        """Worker ids, parents first, and the nodes of a per-key source, whose workers only the server
        knows.
        """
        if entry.generation not in self._needs:
            planned = plan(entry.metric)
            per_key = entry.metric.source.partitions == "per-key"
            self._needs[entry.generation] = (
                [spec.worker_id for spec in reversed(all_workers(planned))],
                [node.name for node in reversed(planned.nodes)] if per_key else [],
            )
        return self._needs[entry.generation]

    def _wanted(self) -> set[str]:
        return {name for entry in self._entries.values() for names in self._need(entry) for name in names}

    async def _release(self, entry: CatalogEntry) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Stop what only ``entry`` needed, detach its metric from the rest of its workers."""
        workers, nodes = self._need(entry)
        del self._needs[entry.generation]
        wanted = self._wanted()
        successor = self._entries.get(entry.metric.name)
        still = set() if successor is None else set(self._need(successor)[0])
        stopped = await self._stop(
            StopInput(
                metric=entry.metric.name,
                stop=tuple(w for w in workers if w not in wanted),
                detach=tuple(w for w in workers if w in wanted and w not in still),
                per_key_nodes=tuple(n for n in nodes if n not in wanted),
            )
        )
        return stopped, tuple(w for w in workers if w in wanted)

    async def _stop(self, input: StopInput) -> tuple[str, ...]:
        if not (input.stop or input.detach or input.per_key_nodes):
            return ()
        return await workflow.execute_activity(
            catalog_activities.stop_workers,
            input,
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=catalog_activities.HEARTBEAT_TIMEOUT,
        )


def unknown_metric(name: str, known: Iterable[str]) -> str:
    """The message for a metric that is not registered."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"there is no metric {name!r}; did you mean {near[0]!r}?"
    listed = ", ".join(names) or "none; register one with `timeline apply`"
    return f"there is no metric {name!r}; registered: {listed}"
