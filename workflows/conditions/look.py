"""What can be seen of metrics, their workers and their topics, gathered once for all checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client

from timeline_workers.errors import TimelineError
from timeline_workers.graph.plan import Plan, plan, worker_name
from timeline_workers.metric import Metric

from .. import ask
from ..client_errors import clear_errors
from ..health import Health, Queue, ended, examine
from ..messages import CATALOG_ID, CatalogEntry
from ..subscriptions import BrokenEdge, broken_edges, confirmed

BROKER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Applied:
    """A registered metric: its plan, and its workers as they are."""

    entry: CatalogEntry
    plan: Plan
    workers: tuple[Health, ...]

    @property
    def metric(self) -> Metric:
        """Its definition."""
        return self.plan.metric

    @property
    def results(self) -> tuple[Health, ...]:
        """The workers of its result."""
        result = worker_name(self.plan, self.plan.result)
        return tuple(h for h in self.workers if h.worker_id.rpartition(".")[0] == result)


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that the checks may look at.

    ``entries``: all registered metrics; ``applied``: those that are asked about; ``waiting``: of each topic
    when the oldest event that was not fed yet was published, microseconds, None when none waits; topics that
    cannot be looked into are left out; ``broker_down``: why the broker does not answer, None when it does;
    ``broker_unknown``: why it cannot be asked, where it is not configured here; ``broken``: edges on which a
    worker waits for what will not come; ``catalog``: how the catalog's workflow has ended, None where it
    runs; ``now``: seconds since the epoch.
    """

    client: Client
    queue: Queue
    entries: tuple[CatalogEntry, ...]
    applied: tuple[Applied, ...]
    waiting: dict[str, int | None] = field(default_factory=dict)
    broker_down: str | None = None
    broker_unknown: str | None = None
    broken: tuple[BrokenEdge, ...] = ()
    catalog: str | None = None
    now: float = field(default_factory=time.time)


async def look_at(
    client: Client, queue: Queue, entries: Sequence[CatalogEntry], names: Sequence[str]
) -> Look:
    """Look at the metrics ``names`` of the registered ``entries``; takes some seconds at most.

    Raises TimelineError when Temporal does not answer.
    """
    chosen = {entry.metric.name: entry for entry in entries}
    plans = [await asyncio.to_thread(plan, chosen[name].metric) for name in names]
    workers = [await ask.running_workers(client, planned) for planned in plans]
    async with clear_errors(client):
        seen = {h.worker_id: h for h in await examine(client, (w for some in workers for w in some))}
        applied = tuple(
            Applied(chosen[name], planned, tuple(seen[w] for w in some))
            for name, planned, some in zip(names, plans, workers, strict=True)
        )
        broken = await confirmed(client, _broken(applied))
        catalog = await ended(client, CATALOG_ID)
    broker = await _waiting(applied)
    return Look(client, queue, tuple(entries), applied, *broker, tuple(broken), catalog)


def _broken(applied: Sequence[Applied]) -> list[BrokenEdge]:
    answered = {h.worker_id: h.status for one in applied for h in one.workers if h.status}
    return broken_edges(answered, answered)


async def _waiting(
    applied: Sequence[Applied],
) -> tuple[dict[str, int | None], str | None, str | None]:
    """``waiting``, ``broker_down`` and ``broker_unknown`` of a look."""
    topics: dict[str, dict[int, tuple[int, int]]] = {}
    for one in applied:
        places = topics.setdefault(one.metric.source.topic, {})
        for p in (p for health in one.workers for p in progress_of(health)):
            at = (int(p["major"]), int(p["minor"]))
            places[p["partition"]] = max(at, places.get(p["partition"], at))
    if not topics:
        return {}, None, None
    # Not with the module: it needs the broker's client library, which workers do without.
    from timeline_workers.pulsar_backlog import first_waiting
    from timeline_workers.pulsar_client import pulsar_url

    try:
        url = pulsar_url()
    except TimelineError as error:
        return {}, None, str(error)
    try:
        async with asyncio.timeout(BROKER_SECONDS):
            return await asyncio.to_thread(first_waiting, topics), None, None
    except TimeoutError:
        return {}, f"the Pulsar broker at {url} did not answer within {BROKER_SECONDS:g} s", None
    except TimelineError as error:
        return {}, str(error), None


def state_of(health: Health) -> dict[str, Any]:
    """What a worker says of its node's state; empty when it says nothing."""
    return (health.status or {}).get("state") or {}


def progress_of(health: Health) -> list[dict[str, Any]]:
    """How far a worker says it is, per source partition."""
    progress: list[dict[str, Any]] = state_of(health).get("progress") or []
    return progress
