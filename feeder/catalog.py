"""Which metrics are registered, as the catalog workflow tells; noticing changes costs one cheap call."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import structlog
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import TimelineError
from timeline_workers.graph.plan import Plan, plan
from workflows.messages import CATALOG_ID, CatalogEntry, CatalogState

from .route import Group, groups_of

log = structlog.get_logger("feeder")


class Catalog:
    """The groups to feed, by topic. ``only``: names of the metrics to feed (default: all)."""

    def __init__(self, client: Client, only: Collection[str] = ()) -> None:
        self._client = client
        self._only = frozenset(only)
        self._reading = asyncio.Lock()
        self._seen: tuple[str, int] | None = None
        self._plans: dict[str, Plan] = {}
        self._missing: frozenset[str] = frozenset()
        self.topics: dict[str, list[Group]] = {}
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
                "not registered, nothing to feed until it is; `timeline get` lists those that are",
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
            return self._take(seen, [])
        state = await handle.query("routing", result_type=CatalogState)
        return self._take(seen, state.entries)

    async def needs(self, node: str) -> bool:
        """Whether, as of now, a registered metric needs the leaf ``node``. Raises RPCError."""
        await self.refresh()
        return any(node in group.leaves for groups in self.topics.values() for group in groups)

    def _take(self, seen: tuple[str, int] | None, entries: Sequence[CatalogEntry]) -> bool:
        if seen is None and self._seen is None and not self._plans:
            self._tell_missing()
            return False
        self._seen = seen
        self.version += 1
        plans: dict[str, Plan] = {}
        for entry in entries:
            metric = entry.metric
            if self._only and metric.name not in self._only:
                continue
            known = self._plans.get(metric.name)
            if known is not None and known.metric == metric:
                plans[metric.name] = known
                continue
            try:
                plans[metric.name] = plan(metric)
            except TimelineError as error:
                # Registered by a version that understood it; the other metrics must go on.
                log.error("metric cannot be planned, it is not fed", metric=metric.name, error=str(error))
        if plans == self._plans:
            self._tell_missing()
            return False
        self._plans = plans
        self.topics = groups_of(plans.values())
        self.metrics = tuple(sorted(plans))
        self._tell_missing()
        log.info("metrics", names=list(self.metrics), topics=sorted(self.topics))
        return True
