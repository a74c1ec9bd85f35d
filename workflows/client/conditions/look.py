"""A look at metrics, their workers and their topics, gathered once for all checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from temporalio.client import Client

from timeline_workers.errors import MetricError, TimelineError
from timeline_workers.events.incarnation import Mark
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import Plan, worker_name
from workflows.archive.archive_activities import archive_id
from workflows.catalog.catalog_workflow import unknown_metric
from workflows.catalog.entries import Unusable, plan_of
from workflows.client import ask
from workflows.client.client_errors import clear_errors
from workflows.client.edge_repair import BrokenEdge, broken_edges, confirmed
from workflows.client.queues import Queue
from workflows.client.running import Run, runs_of
from workflows.client.worker_health import Health, ended, examine
from workflows.messages import CATALOG_ID, CatalogEntry
from workflows.outputs.start_outputs import has_history, told_of

from .history_look import HistoryLook, look_at_history
from .shortfall import Shortfall, places_to_ask, shortfalls
from .statuses import furthest

if TYPE_CHECKING:
    from timeline_workers.servers.pulsar.backlog import Backlog

BROKER_SECONDS = 5.0
K = TypeVar("K")
_Question = tuple[str, str | None]  # a topic: what nobody was fed; with a metric: what its result lacks


@dataclass(frozen=True, slots=True)
class Applied:
    """A registered metric: its plan, and its workers, and those of its output, as they are."""

    entry: CatalogEntry
    plan: Plan
    workers: tuple[Health, ...]
    outputs: tuple[Health, ...] = ()

    @property
    def metric(self) -> Metric:
        """Its definition."""
        return self.plan.metric

    @property
    def results(self) -> tuple[Health, ...]:
        """The workers of its result."""
        result = worker_name(self.plan, self.plan.result)
        return tuple(h for h in self.workers if h.worker_id.rpartition(".")[0] == result)

    @property
    def by_key(self) -> bool:
        """Whether each key has a tree of workers of its own."""
        return self.metric.source.partitions == "per-key"

    @property
    def shortfalls(self) -> list[Shortfall]:
        """In which partitions its result is behind its event processors."""
        return shortfalls(self.workers, self.results, by_label=self.by_key)


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that the checks may look at.

    ``entries``: all registered metrics; ``applied``: those that are asked about, and ``unusable`` those
    of them that cannot be planned or read, about which nothing else is known; ``writers``: the further
    metrics whose outputs those read, directly or through others; ``waiting``: of each topic when the
    oldest event that was not fed yet was published, microseconds, None when none waits; topics that
    cannot be looked into are left out; ``other_topics``: those that were recreated, or have lost their
    end, since they were fed last; ``lacking``: of each metric whose result may be behind its event
    processors for long, when the oldest message was published that the result has not applied;
    ``broker_down``: why the broker does not answer, None when it does; ``broker_unknown``: why it cannot
    be asked, where it is not configured here; ``broken``: edges on which a worker waits for what will not
    come; ``catalog``: how the catalog's workflow has ended, None where it runs; ``archives``: those of
    workers that do not run, by worker; ``history``: how the history store is, None where there is none;
    ``now``: seconds since the epoch.
    """

    client: Client
    queue: Queue
    entries: tuple[CatalogEntry, ...]
    applied: tuple[Applied, ...]
    unusable: tuple[Unusable, ...] = ()
    writers: tuple[Applied, ...] = ()
    waiting: dict[str, int | None] = field(default_factory=dict)
    other_topics: frozenset[str] = frozenset()
    lacking: dict[str, int | None] = field(default_factory=dict)
    broker_down: str | None = None
    broker_unknown: str | None = None
    broken: tuple[BrokenEdge, ...] = ()
    catalog: str | None = None
    archives: dict[str, tuple[str, ...]] = field(default_factory=dict)
    history: HistoryLook | None = None
    now: float = field(default_factory=time.time)


async def look_at(
    client: Client,
    queue: Queue,
    entries: Sequence[CatalogEntry],
    unusable: Sequence[Unusable] = (),
    names: Sequence[str] = (),
) -> Look:
    """Look at the metrics ``names`` (default: all) of the registered ones: ``entries``, and those that are
    ``unusable``. Takes some seconds at most.

    Raises TimelineError when Temporal does not answer, UnknownNameError for a name that is not registered.
    """
    chosen = {entry.metric.name: entry for entry in entries}
    listed = [*chosen, *(one.name for one in unusable)]
    for name in names:
        if name not in listed:
            raise unknown_metric(name, listed)
    names = names or listed
    plans: list[Plan] = []
    unplanned = {one.name: one for one in unusable}
    for name in (*names, *_writers_beneath(names, chosen)):
        if name in unplanned:
            continue
        try:
            plans.append(await asyncio.to_thread(plan_of, chosen[name].metric))
        except MetricError as error:
            unplanned[name] = Unusable(name, str(error))
    workers = [await ask.running_workers(client, planned) for planned in plans]
    history = await asyncio.to_thread(has_history)
    outputs = [[spec.worker_id for spec in told_of(planned, history=history)] for planned in plans]
    async with clear_errors(client):
        seen = {h.worker_id: h for h in await examine(client, chain(*workers, *outputs))}
        looked_at = tuple(
            Applied(
                chosen[planned.metric.name],
                planned,
                tuple(seen[w] for w in some),
                tuple(seen[w] for w in told),
            )
            for planned, some, told in zip(plans, workers, outputs, strict=True)
        )
        edges = await confirmed(client, _broken(looked_at))
        catalog = await ended(client, CATALOG_ID)
        archives = await _archives_ended(client, seen.values())
    of_those = tuple(unplanned[name] for name in names if name in unplanned)
    waiting, broker_down, broker_unknown = await _waiting(looked_at)
    return Look(
        client,
        queue,
        tuple(entries),
        tuple(one for one in looked_at if one.metric.name in names),
        of_those,
        writers=tuple(one for one in looked_at if one.metric.name not in names),
        waiting={topic: found.oldest for (topic, metric), found in waiting.items() if metric is None},
        other_topics=frozenset(topic for (topic, _), found in waiting.items() if found.other),
        lacking={metric: found.oldest for (_, metric), found in waiting.items() if metric is not None},
        broker_down=broker_down,
        broker_unknown=broker_unknown,
        broken=tuple(edges),
        catalog=catalog,
        archives=archives,
        history=await look_at_history([one.metric for one in looked_at]),
    )


def writers_by_topic(metrics: Iterable[Metric]) -> dict[str, str]:
    """Which metric writes each topic that is some metric's output."""
    return {metric.output.topic: metric.name for metric in metrics if metric.output is not None}


def _writers_beneath(names: Sequence[str], chosen: Mapping[str, CatalogEntry]) -> list[str]:
    """The further metrics whose outputs ``names`` read, directly or through others."""
    writers = writers_by_topic(entry.metric for entry in chosen.values())
    every = dict.fromkeys(names)
    todo = [name for name in names if name in chosen]
    while todo:
        source = chosen[todo.pop()].metric.source
        writer = writers.get(source.topic) if source.changelog else None
        if writer is not None and writer not in every:
            every[writer] = None
            todo.append(writer)
    return [name for name in every if name not in names]


def _broken(applied: Sequence[Applied]) -> list[BrokenEdge]:
    answered = {h.worker_id: h.status for one in applied for h in (*one.workers, *one.outputs) if h.status}
    return broken_edges(answered, answered)


async def _archives_ended(client: Client, workers: Iterable[Health]) -> dict[str, tuple[str, ...]]:
    owners = {
        archive_id(health.worker_id, number): health.worker_id
        for health in workers
        for number in range(0 if health.status is None else health.status.archives)
    }
    runs = await runs_of(client, list(owners))
    found: dict[str, tuple[str, ...]] = {}
    for archive, run in runs.items():
        if not isinstance(run, Run):
            found[owners[archive]] = (*found.get(owners[archive], ()), archive)
    return found


async def _waiting(
    applied: Sequence[Applied],
) -> tuple[dict[_Question, Backlog], str | None, str | None]:
    """What waits in topics, and what metrics lack, ``broker_down`` and ``broker_unknown`` of a look."""
    topics: dict[str, list[Health]] = {}
    for one in applied:
        topics.setdefault(one.metric.source.topic, []).extend(one.workers)
    if not topics:
        return {}, None, None
    questions: dict[_Question, tuple[str, Mapping[int, Mark]]] = {
        (topic, None): (topic, furthest(workers)) for topic, workers in topics.items()
    }
    now = time.time()
    for one in applied:
        topic = one.metric.source.topic
        # What another key was sent is nothing that a tree of workers lacks.
        if not one.by_key and (places := places_to_ask(one.shortfalls, questions[topic, None][1], now)):
            questions[topic, one.metric.name] = topic, places
    return await asked_broker(questions)


async def asked_broker(
    questions: Mapping[K, tuple[str, Mapping[int, Mark]]],
) -> tuple[dict[K, Backlog], str | None, str | None]:
    """What waits in topics after the given places (``backlogs``), and ``broker_down`` and ``broker_unknown``
    of a look.
    """
    # Not with the module: it needs the broker's client library, which workers do without.
    from timeline_workers.servers.pulsar.backlog import backlogs
    from timeline_workers.servers.pulsar.pulsar_client import pulsar_url

    try:
        url = pulsar_url()
    except TimelineError as error:
        return {}, None, str(error)
    try:
        async with asyncio.timeout(BROKER_SECONDS):
            return await asyncio.to_thread(backlogs, questions), None, None
    except TimeoutError:
        return {}, f"the Pulsar broker at {url} did not answer within {BROKER_SECONDS:g} s", None
    except TimelineError as error:
        return {}, str(error), None
