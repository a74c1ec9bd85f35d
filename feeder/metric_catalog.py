"""The registered metrics, as the catalog workflow lists them; noticing changes costs one cheap call."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import structlog
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from feeder.routing.router import MetricGroup, groups_of
from timeline_workers.errors import TimelineError
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import (
    KEY_LABEL,
    Plan,
    WorkerSpec,
    all_worker_names,
    all_workers,
    global_workers,
    partition_labels,
    plan,
    workers,
)
from timeline_workers.reconcilers.reconciler_workers import ReconcilerSpec
from workflows.catalog.catalog_client import start_again
from workflows.catalog.entries import Unusable, read_entries
from workflows.messages import CATALOG_ID, CatalogEntry
from workflows.outputs.start_outputs import Told, told_of
from workflows.reconciling.start_reconcilers import reconciler_specs, registered_reconcilers

log = structlog.get_logger("feeder")


class Catalog:
    """The groups to feed, by topic, and who else is registered. ``only``: names of the metrics to feed
    (default: all).
    """

    def __init__(self, client: Client, only: Collection[str] = ()) -> None:
        self._client = client
        self._only = frozenset(only)
        self._reading = asyncio.Lock()
        self._seen: tuple[str, int] | None = None
        self._ended = ""  # the run of a catalog of which it was said that it cannot be started again
        self._plans: dict[str, Plan] = {}  # of all registered metrics
        self._registered: list[Metric] = []
        self._missing: frozenset[str] = frozenset()
        self._unusable: list[Unusable] = []
        self.topics: dict[str, list[MetricGroup]] = {}
        self.metrics: tuple[str, ...] = ()
        self.version = 0  # grows with every change, also of a metric that is removed and applied again

    async def refresh(self) -> bool:
        """Look whether the catalog has changed, and if so read it; True when there is something new.

        Whatever was registered before the call is in ``topics`` after it: a description of the catalog
        workflow is consistent, and its history grows with every change. Raises RPCError when Temporal does
        not answer.
        """
        async with self._reading:  # else an older answer could replace a newer one
            return await self._refresh()

    def _tell_missing(self) -> None:
        missing = self._only.difference(self._plans)
        if missing and missing != self._missing:
            log.warning(
                "metrics not registered; waiting for `timeline apply` (`timeline get` lists those that are)",
                metrics=sorted(missing),
            )
        self._missing = missing

    async def _refresh(self) -> bool:
        handle = self._client.get_workflow_handle(CATALOG_ID)
        try:
            description = await handle.describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return self._take(None, [])
        seen = (description.run_id, description.history_length)
        if seen == self._seen:
            return False
        if description.status is not WorkflowExecutionStatus.RUNNING:
            await self._start_again(description)
            return False
        entries, unusable = read_entries((await handle.query("routing"))["entries"])
        for one in unusable:
            if one not in self._unusable:
                log.error(
                    "cannot read metric from the catalog; not feeding it", metric=one.name, error=one.reason
                )
        self._unusable = unusable
        return self._take(seen, entries)

    async def _start_again(self, ended: WorkflowExecutionDescription) -> None:
        """Start the catalog again where it was ended by hand; meanwhile go on with what is known."""
        how = "ended" if ended.status is None else ended.status.name.lower()
        try:
            state = await start_again(self._client)
        except (RPCError, WorkflowQueryFailedError) as error:
            if ended.run_id != self._ended:
                log.error(
                    "catalog workflow has ended and cannot be restarted now; feeding the last known metrics",
                    catalog=CATALOG_ID,
                    status=how,
                    error=str(error),
                )
            self._ended = ended.run_id
            return
        if state is not None:
            log.warning(
                "catalog workflow had ended; restarted with the metrics that it had",
                catalog=CATALOG_ID,
                status=how,
                metrics=[entry.metric.name for entry in state.entries],
            )

    async def needs(self, node: str) -> bool:
        """Whether, as of now, a registered metric needs the leaf ``node``. Raises RPCError."""
        await self.refresh()
        return any(node in group.leaves for groups in self.topics.values() for group in groups)

    async def workers(self, label: str) -> list[WorkerSpec]:
        """The workers of partition ``label``, and those that hear every partition, of all registered metrics
        that have it, as of now. Raises RPCError.
        """
        await self.refresh()
        found: list[WorkerSpec] = []
        for planned in self._plans.values():
            if label in partition_labels(planned):
                found += [*workers(planned, label), *global_workers(planned)]
            elif label.startswith(KEY_LABEL) and not partition_labels(planned):
                found += workers(planned, label)
        return found

    async def all_workers(self) -> dict[str, WorkerSpec]:
        """Every worker of all registered metrics by its id, children before parents, as of now; without trees
        of keys, of which only the server knows which there are. Raises RPCError.
        """
        await self.refresh()
        return {spec.worker_id: spec for planned in self._plans.values() for spec in all_workers(planned)}

    async def reconcilers(self) -> dict[str, ReconcilerSpec]:
        """The workers of reconcilers that are known beforehand by their ids, as of now. Raises RPCError."""
        await self.refresh()
        return reconciler_specs(await registered_reconcilers(self._client), self._plans)

    async def outputs(self, *, history: bool) -> dict[str, Told]:
        """The workers of the outputs of all registered metrics by their ids, as of now; ``history``: as where
        there is a history store. Raises RPCError.
        """
        await self.refresh()
        return {
            spec.worker_id: spec
            for planned in self._plans.values()
            for spec in told_of(planned, history=history)
        }

    def registered(self) -> list[Metric]:
        """All registered metrics as last seen, fed here or not; none while some cannot be read."""
        return [] if self._unusable else self._registered

    def look_again(self) -> None:
        """Have whoever feeds look again who has what, as when a metric was applied or removed."""
        self.version += 1

    def metrics_of(self, worker: str) -> list[str]:
        """The registered metrics that have ``worker``, as last seen."""
        name = worker.rpartition(".")[0]
        return [metric for metric, planned in self._plans.items() if name in all_worker_names(planned)]

    def _take(self, seen: tuple[str, int] | None, entries: Sequence[CatalogEntry]) -> bool:
        if seen is None and self._seen is None and not self._plans:
            self._tell_missing()
            return False
        self._seen = seen
        self.version += 1
        self._registered = [entry.metric for entry in entries]
        plans: dict[str, Plan] = {}
        for entry in entries:
            metric = entry.metric
            known = self._plans.get(metric.name)
            if known is not None and known.metric == metric:
                plans[metric.name] = known
                continue
            try:
                plans[metric.name] = plan(metric)
            except TimelineError as error:
                # Registered by a version that understood it; the other metrics must go on.
                log.error("cannot plan metric; not feeding it", metric=metric.name, error=str(error))
        if plans == self._plans:
            self._tell_missing()
            return False
        self._plans = plans
        fed = {name: planned for name, planned in plans.items() if not self._only or name in self._only}
        self.topics = groups_of(fed.values())
        self.metrics = tuple(sorted(fed))
        self._tell_missing()
        log.info("registered metrics", metrics=list(self.metrics), topics=sorted(self.topics))
        return True
