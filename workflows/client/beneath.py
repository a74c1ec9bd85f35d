"""The health of the workers that an answer rests on, as a client sees them: a worker cannot know all of it.

It is asked beside the question and takes no longer than ``PATIENCE``; who does not answer by then is not
reported, as nothing is known against it. What was found holds for some seconds.

Where no event processor has been sent anything for some seconds, the broker is asked whether events wait: a
quiet topic and a feeder that has stopped look the same to the workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from cachetools import TTLCache
from temporalio.client import Client
from temporalio.service import RPCError

from timeline_workers.errors import TimelineError
from timeline_workers.events.incarnation import Mark
from timeline_workers.plan.output_workers import output_workers
from timeline_workers.plan.physical import Plan, WorkerSpec, all_workers
from workflows.catalog.entries import plan_of
from workflows.client.conditions.condition import WORST_FIRST, Condition, Notice
from workflows.client.conditions.feeding import LAG_SECONDS, being_rebuilt, unfed_for, waited_for
from workflows.client.conditions.look import asked_broker, writers_by_topic
from workflows.client.conditions.refusals import unseen_columns
from workflows.client.conditions.statuses import furthest
from workflows.messages import CATALOG_ID
from workflows.processor.doubts import in_doubt

from .edge_repair import broken_edges, confirmed, inputs_of
from .queues import Queue, queue_of
from .worker_health import Health, ended, examine_one

PATIENCE = timedelta(seconds=1.5)
KNOWN_SECONDS = 3.0
# A topic in which nothing waits takes the broker most of a second to say so.
TOPIC_SECONDS = 10.0
_AT_ONCE = 32
# Where nobody answers and nothing is known against anybody, the question itself finds out what is wrong.
_UNKNOWN = ("busy", "ok")

_noticed: WeakKeyDictionary[Client, dict[Notice, None]] = WeakKeyDictionary()
_known: WeakKeyDictionary[Client, TTLCache[tuple[str, ...], Condition | None]] = WeakKeyDictionary()
_Place = tuple[str, tuple[tuple[int, Mark], ...]]  # a topic, and how far it was fed
_waiting: WeakKeyDictionary[Client, TTLCache[_Place, int | None]] = WeakKeyDictionary()


async def doubt_about(client: Client, planned: Plan, asked: Iterable[str]) -> Condition | None:
    """The worst of what is wrong with the workers ``asked`` and those that they rest on; None when nothing is
    known to be.
    """
    names = tuple(sorted(asked))
    known = _known.setdefault(client, TTLCache(1_000, KNOWN_SECONDS))
    try:
        return known[names]
    except KeyError:
        pass
    found = [await _look(client, planned, beneath(planned, names)), await _of_its_writer(client, planned)]
    doubt = min((one for one in found if one is not None), key=lambda one: _rank(one.state), default=None)
    known[names] = doubt
    return doubt


async def _of_its_writer(client: Client, planned: Plan) -> Condition | None:
    """The worst that is wrong with the metric whose output this one reads, where it does and one is known."""
    if not planned.metric.source.changelog:
        return None
    from .ask import registered  # which asks this module, too

    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            metrics = {entry.metric.name: entry.metric for entry in await registered(client)}
        name = writers_by_topic(metrics.values()).get(planned.metric.source.topic)
        if name is None or name == planned.metric.name:
            return None
        writer = await asyncio.to_thread(plan_of, metrics[name])
    except (TimeoutError, TimelineError, RPCError):
        return None  # nothing is known against it
    workers = [spec.worker_id for spec in all_workers(writer)]
    workers += [spec.worker_id for spec in output_workers(writer)]
    found = [await _look(client, writer, workers), await _of_its_writer(client, writer)]
    worst = min((one for one in found if one is not None), key=lambda one: _rank(one.state), default=None)
    if worst is None:
        return None
    return Condition(worst.state, f"metric {name}, whose output it reads, is {worst.state}: {worst}")


def notices_of(client: Client) -> list[Notice]:
    """What ``doubt_about`` has come across, with this client, that makes no answer wrong."""
    return list(_noticed.get(client, ()))


def doubted(answer: dict[str, Any], doubt: Condition | None) -> dict[str, Any]:
    """``answer`` with ``doubt`` as its ``health``, unless its worker knows of worse itself."""
    own = answer.get("health")
    if doubt is None or (own is not None and _rank(own["state"]) <= _rank(doubt.state)):
        return answer
    found: dict[str, Any] = in_doubt(answer, doubt.state, str(doubt))
    return found


def _rank(state: Any) -> int:
    return WORST_FIRST.index(state) if state in WORST_FIRST else 0


def beneath(planned: Plan, asked: Iterable[str]) -> list[str]:
    """The workers ``asked`` and all that they rest on, depth first."""
    labels = {name.rpartition(".")[2]: None for name in asked}
    specs = {spec.worker_id: spec for spec in all_workers(planned, list(labels))}
    found: dict[str, WorkerSpec | None] = {}

    def visit(name: str) -> None:
        if name not in found:
            found[name] = spec = specs.get(name)
            for below in () if spec is None else inputs_of(spec):
                visit(below)

    for name in asked:
        visit(name)
    return list(found)


async def _look(client: Client, planned: Plan, workers: list[str]) -> Condition | None:
    found: list[Condition] = []
    looks: dict[str, Health] = {}
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(worker: str, queue: Queue) -> None:
        async with slots:
            health = looks[worker] = await examine_one(client, worker, queue, PATIENCE)
            if health.state not in _UNKNOWN:
                found.append(Condition(health.state, health.cause or "", worker))

    async def catalog() -> None:
        if (how := await ended(client, CATALOG_ID)) is not None:
            found.append(Condition("down", how, CATALOG_ID))

    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            queue = await queue_of(client)
            await asyncio.gather(catalog(), *(one(worker, queue) for worker in workers))
            answered = {name: health.status for name, health in looks.items() if health.status}
            found += being_rebuilt(looks.values())
            noticed = unseen_columns(planned, list(looks.values()))
            _noticed.setdefault(client, {}).update(dict.fromkeys(noticed))
            for edge in await confirmed(client, broken_edges(answered, answered)):
                found.append(Condition("failing", edge.why, edge.reader))
            found += await _unfed(client, planned, looks.values())
    except (TimeoutError, RPCError):
        pass  # what was found until then counts
    return min(found, key=lambda one: _rank(one.state), default=None)


async def _unfed(client: Client, planned: Plan, looks: Collection[Health]) -> list[Condition]:
    """Whether events wait in the topic that no feeder sends. Of a tree of workers for each key that is not
    asked: what came after its last event is other keys'.
    """
    now, source = time.time(), planned.metric.source
    idle = unfed_for(planned, looks, now)
    if idle is None or idle <= LAG_SECONDS or source.partitions == "per-key":
        return []
    marks = furthest(looks)
    place = source.topic, tuple(sorted(marks.items()))
    known = _waiting.setdefault(client, TTLCache(1_000, TOPIC_SECONDS))
    if place not in known:
        known[place] = None  # also where the broker does not answer in time: `timeline get` says so
        backlogs, _, _ = await asked_broker({source.topic: (source.topic, marks)})
        if source.topic in backlogs:
            known[place] = backlogs[source.topic].oldest
    return list(waited_for(source.topic, known.get(place), idle, now))
