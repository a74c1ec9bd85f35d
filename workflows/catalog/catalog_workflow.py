"""The registry of metrics, stored sources and targets: one workflow that drivers, feeders and commands agree
with.

Registering and removing are updates, one after the other; reading is a query, which sees every update that
has been answered. A worker is wanted while some registered metric's plan has it. So "who needs this worker"
is computed from the definitions and can never drift; the metric names that workers carry are for people.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Literal

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import Code, MetricError, TargetError, TimelineError, UnknownNameError
    from timeline_workers.language.suggestions import nearest
    from timeline_workers.metric.model import Metric, NamedSource, StoredSource
    from timeline_workers.metric.size_limits import refuse_oversized
    from timeline_workers.plan.physical import plan
    from timeline_workers.reconcilers.definition import Definition
    from timeline_workers.targets.sending import Answer
    from timeline_workers.targets.target import AnyTarget, Target
    from workflows.durable.refusal_codes import refusal
    from workflows.messages import (
        CatalogEntry,
        CatalogState,
        ConfirmInput,
        ConfirmResult,
        RegisterResult,
        ReleaseInput,
        ReleaseResult,
        RemoveResult,
        SourceResult,
        TargetResult,
    )
    from workflows.reconciling.unknown_names import unknown_reconciler
    from workflows.sinks import target_activities

    from . import catalog_activities


@workflow.defn
class MetricCatalog:
    """Holds the registered metrics, stored sources and targets of alerts, and ends the workers that no metric
    needs any more.
    """

    @workflow.init
    def __init__(self, state: CatalogState) -> None:
        self._entries = {entry.metric.name: entry for entry in state.entries}
        self._sources = {stored.definition.name: stored for stored in state.sources}
        self._targets: dict[str, Target] = {target.name: target for target in state.targets}
        self._reconcilers = {one.name: one for one in state.reconcilers}
        self._version = state.version
        self._lock = asyncio.Lock()

    @workflow.run
    async def run(self, state: CatalogState) -> None:
        """Run for ever, continuing as new when Temporal suggests it."""
        await workflow.wait_condition(lambda: workflow.info().is_continue_as_new_suggested())
        await workflow.wait_condition(workflow.all_handlers_finished)
        more = {
            "sources": tuple(self.sources()),
            "targets": tuple(self.targets()),
            "reconcilers": tuple(self.reconcilers()),
        }
        workflow.continue_as_new(self._state().model_copy(update=more))

    @workflow.query
    def metrics(self) -> list[CatalogEntry]:
        """The registered metrics by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    @workflow.query
    def sources(self) -> list[StoredSource]:
        """The stored sources by name."""
        return [self._sources[name] for name in sorted(self._sources)]

    @workflow.query
    def targets(self) -> list[AnyTarget]:
        """The targets of alerts by name."""
        return [self._targets[name] for name in sorted(self._targets)]

    @workflow.query
    def reconcilers(self) -> list[Definition]:
        """The registered reconcilers by name."""
        return [self._reconcilers[name] for name in sorted(self._reconcilers)]

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
            old = self._entries.get(metric.name)
            if old is not None and old.metric == metric:
                return RegisterResult(name=metric.name, outcome="unchanged", generation=old.generation)
            self._version += 1
            entry = CatalogEntry(metric=metric, generation=self._version)
            self._entries[metric.name] = entry
            stopped = () if old is None else (await self._release(old.metric)).stopped
            return RegisterResult(
                name=metric.name,
                outcome="new" if old is None else "replaced",
                generation=entry.generation,
                stopped=stopped,
            )

    @register.validator
    def _refuse_what_cannot_be_planned(self, metric: Metric) -> None:
        # The largest definition takes half a second of processor time; a workflow task may take two.
        try:
            refuse_oversized(metric)
            plan(metric)
            entry = self._entries.get(metric.name)
            refuse_unknown_targets(metric, None if entry is None else entry.metric, self._targets)
        except TimelineError as error:
            raise refusal(error) from error

    @workflow.update
    async def remove(self, name: str) -> RemoveResult:
        """Remove a metric, end the workers that no other metric needs, and wait until they have ended."""
        async with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                raise refusal(unknown_metric(name, self._entries))
            # First the definition: a feeder that finds a leaf missing must not start it again.
            del self._entries[name]
            self._version += 1
            released = await self._release(entry.metric)
            return RemoveResult(name=name, stopped=released.stopped, kept=released.kept)

    @workflow.update
    async def register_source(self, definition: NamedSource) -> SourceResult:
        """Store a source; the same again changes nothing, another of the same name is its next version."""
        async with self._lock:
            old = self._sources.get(definition.name)
            outcome: Literal["new", "unchanged", "replaced"] = "new" if old is None else "unchanged"
            version = 1 if old is None else old.version
            if old is not None and old.definition != definition:
                outcome, version = "replaced", old.version + 1
            self._sources[definition.name] = StoredSource(definition=definition, version=version)
            keeping = tuple(
                name for name, used in sorted(self._naming(definition.name).items()) if used != version
            )
            return SourceResult(name=definition.name, outcome=outcome, version=version, keeping=keeping)

    @workflow.update
    async def remove_source(self, name: str) -> None:
        """Remove a stored source that no registered metric names."""
        async with self._lock:
            if name not in self._sources:
                raise refusal(unknown_source(name, self._sources))
            if metrics := sorted(self._naming(name)):
                said = (
                    f"source {name!r} is named by the metrics {', '.join(metrics)}; delete them first, or "
                    "apply them with the source written out"
                )
                raise refusal(MetricError(said, code=Code.SOURCE_IN_USE))
            del self._sources[name]

    @workflow.update
    async def register_target(self, target: AnyTarget) -> TargetResult:
        """Keep a target of alerts; another of the same name replaces it, also for what waits to be sent."""
        async with self._lock:
            old = self._targets.get(target.name)
            if old == target:
                return TargetResult(name=target.name, outcome="unchanged")
            self._targets[target.name] = target
            # A rule may have named one that is new here.
            await _of_sinks(target_activities.tell_sinks, target.name)
            return TargetResult(name=target.name, outcome="new" if old is None else "replaced")

    @workflow.update
    async def remove_target(self, name: str) -> None:
        """Remove a target, and end its sinks: what waits there becomes dead letters."""
        async with self._lock:
            if name not in self._targets:
                raise refusal(unknown_target(name, self._targets))
            if rules := sorted(
                one.metric.name for one in self._entries.values() if name in told_by(one.metric)
            ):
                said = (
                    f"target {name!r} is named by the rules {', '.join(rules)}; delete them first, or apply "
                    "them without it"
                )
                raise refusal(TargetError(said, code=Code.TARGET_IN_USE))
            del self._targets[name]
            await _of_sinks(target_activities.end_sinks, name)

    @workflow.update
    async def test_target(self, name: str) -> Answer:
        """Send a target one message that says that it is a test; what it answers."""
        if name not in self._targets:
            raise refusal(unknown_target(name, self._targets))
        return await workflow.execute_activity(
            target_activities.send_test,
            self._targets[name],
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )

    @workflow.update
    async def register_reconciler(self, definition: Definition) -> None:
        """Register a reconciler; another of the same name replaces it."""
        async with self._lock:
            self._reconcilers[definition.name] = definition

    @workflow.update
    async def remove_reconciler(self, name: str) -> None:
        """Forget a reconciler; whoever asks ends its workers."""
        async with self._lock:
            if name not in self._reconcilers:
                raise refusal(unknown_reconciler(name, self._reconcilers))
            del self._reconcilers[name]

    def _naming(self, source: str) -> dict[str, int]:
        """The metrics that name a stored source, with the version that they keep."""
        named = {name: entry.metric.named_source for name, entry in self._entries.items()}
        return {name: of.version for name, of in named.items() if of is not None and of.name == source}

    @workflow.update
    async def confirm(self, question: ConfirmInput) -> ConfirmResult:
        """Whether a generation of a metric is still registered; ends those of its workers that nobody needs
        if not.

        A driver asks at its end: the metric may have been removed or replaced while its workers were started.
        """
        async with self._lock:
            entry = self._entries.get(question.metric.name)
            if entry is not None and entry.generation == question.generation:
                return ConfirmResult(current=True)
            released = await self._release(question.metric)
            return ConfirmResult(current=False, stopped=released.stopped)

    async def _release(self, definition: Metric) -> ReleaseResult:
        """End what only ``definition`` needed, and detach its metric from the rest of its workers."""
        # The lock is held: what the activity reads of this catalog stays as it is until the workers ended.
        return await workflow.execute_activity(
            catalog_activities.release_workers,
            ReleaseInput(definition=definition),
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=catalog_activities.HEARTBEAT_TIMEOUT,
        )


def told_by(metric: Metric) -> tuple[str, ...]:
    """The targets that a rule names; none for a metric that is no rule."""
    return () if metric.alert is None else metric.alert.to


def refuse_unknown_targets(metric: Metric, applied: Metric | None, known: Iterable[str]) -> None:
    """Raise UnknownNameError where a rule names a target that is not there; ``applied``: its definition so
    far, whose targets it may go on to name.
    """
    names = {*known, *(() if applied is None else told_by(applied))}
    for target in told_by(metric):
        if target not in names:
            raise UnknownNameError(
                f"rule {metric.name!r}: to: {unknown_target(target, known)}\n"
                "Apply a target before the rules that name it",
                code=Code.UNKNOWN_TARGET,
            )


async def _of_sinks(activity: Callable[[str], Awaitable[int]], target: str) -> None:
    await workflow.execute_activity(
        activity,
        target,
        start_to_close_timeout=timedelta(minutes=10),
        heartbeat_timeout=catalog_activities.HEARTBEAT_TIMEOUT,
    )


def unknown_target(name: str, known: Iterable[str]) -> UnknownNameError:
    """The error about a target of alerts that is not there."""
    names = sorted(known)
    near = nearest(name, names)
    if near:
        return UnknownNameError(
            f"there is no target {name!r}; did you mean {near!r}?", code=Code.UNKNOWN_TARGET
        )
    listed = ", ".join(names) or "none; make one known with `timeline apply TARGET.yaml`"
    said = f"there is no target {name!r}; known: {listed}"
    return UnknownNameError(said, code=Code.UNKNOWN_TARGET)


def unknown_source(name: str, known: Iterable[str]) -> UnknownNameError:
    """The error about a source that is not stored."""
    names = sorted(known)
    near = nearest(name, names)
    if near:
        return UnknownNameError(
            f"there is no source {name!r}; did you mean {near!r}?", code=Code.UNKNOWN_SOURCE
        )
    listed = ", ".join(names) or "none; store one with `timeline apply SOURCE.yaml`"
    said = f"there is no source {name!r}; stored: {listed}"
    return UnknownNameError(said, code=Code.UNKNOWN_SOURCE)


def unknown_metric(name: str, known: Iterable[str]) -> UnknownNameError:
    """The error about a metric that is not registered."""
    names = sorted(known)
    near = nearest(name, names)
    if near:
        return UnknownNameError(
            f"there is no metric {name!r}; did you mean {near!r}?", code=Code.UNKNOWN_METRIC
        )
    listed = ", ".join(names) or "none; register one with `timeline apply`"
    said = f"there is no metric {name!r}; registered: {listed}"
    return UnknownNameError(said, code=Code.UNKNOWN_METRIC)
