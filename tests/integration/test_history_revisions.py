"""Revisions in the history store on real servers: the README's worked example, and a late event."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from producer.event import Event, encode
from producer.generate_worked_example import worked_example
from producer.send import Stored
from tests.integration.stack import Stack, eventually, running_stack
from timeline_workers.client import TimelineClient
from timeline_workers.history.computed import compute
from timeline_workers.history.forgetting_due import scope_of
from timeline_workers.history.model import Piece
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import History, Metric
from timeline_workers.plan.history_workers import stored_name, stored_nodes
from timeline_workers.plan.physical import NodeSpec, plan, worker_id
from workflows.catalog.catalog_activities import remove_metric
from workflows.client.worker_health import examine
from workflows.outputs.start_outputs import told_of

pytestmark = pytest.mark.integration

SECOND = 1_000_000
TOP = Path(__file__).parents[2]
ALWAYS = -(2**60), 2**60
CIRR = load_metric(TOP / "examples/cirr/metric.yaml")
EVERY = CIRR.model_copy(update={"name": "every", "history": History(nodes="all")})
LATE = {"session_id": "s1", "timestamp": 11, "userAction": "seek"}
# Of twenty events each; docs/history.md says how 10,000 of them went.
SESSIONS = int(os.environ.get("TIMELINE_TEST_SESSIONS", "2000"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:{tmp_path_factory.mktemp('store') / 'history.db'}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("revisions"), history=address) as made:
        made.start_worker()
        made.start_feeder()
        yield made


@pytest_asyncio.fixture
async def store(address: str) -> AsyncIterator[HistoryStore]:
    opened = await open_history(address)
    try:
        yield opened
    finally:
        await opened.close()


def shown(pieces: list[Piece]) -> list[tuple[Any, Any, Any, Any]]:
    return [(p.start, p.until, p.value, p.slope) for p in pieces]


async def spans_of_workers(stack: Stack, metric: Metric, keys: list[str]) -> dict[tuple[str, str], Any]:
    """What the workers answer for every node that is stored, to the microsecond."""
    client, found = await stack.temporal(), {}
    for node in stored_nodes(plan(metric)):
        handle = client.get_workflow_handle(worker_id(node.name, "p0"))
        for key in keys:
            question = {"key": key, "start": 0, "end": 10_000 * SECOND, "unit": "us"}
            answer = await handle.query("spans", question)
            found[node.name, key] = [(s["start"], s["value"], s.get("slope")) for s in answer["spans"]]
    return found


async def spans_of_store(store: HistoryStore, metric: Metric, keys: list[str]) -> dict[tuple[str, str], Any]:
    planned = plan(metric)
    nodes = stored_nodes(planned)
    found: dict[tuple[str, str], Any] = {(node.name, key): [] for node in nodes for key in keys}
    for node in nodes:
        for p in await store.pieces([stored_name(planned, node)], *ALWAYS, keys=keys):
            value = float(p.value) if p.slope is not None and p.value is not None else p.value
            slope = None if p.slope is None else float(p.slope)
            found[node.name, str(p.key)].append((p.start, value, slope))
    return found


@pytest.mark.parametrize(
    "metric", [CIRR, pytest.param(EVERY, marks=pytest.mark.long)], ids=["", "every node"]
)
async def test_a_late_event_changes_now_and_not_then(
    stack: Stack, store: HistoryStore, metric: Metric
) -> None:
    """As of before it there is the old answer, and now the new one, which is the workers'."""
    topic = f"{metric.name}-events"
    metric = metric.model_copy(update={"source": metric.source.model_copy(update={"topic": topic})})
    await stack.apply(metric)
    await stack.applied(metric, stack.send(topic, worked_example()))
    planned = plan(metric)
    result = stored_name(planned, planned.result)
    before = [(0, 10, 0, 0), (10, 14, 0, 1), (14, 19, 4, 0), (19, 22, 4, 1), (22, None, 7, 0)]
    old = [(a * SECOND, None if b is None else b * SECOND, v, s) for a, b, v, s in before]
    stored: list[Any] = []

    async def has(wanted: list[Any]) -> bool:
        stored[:] = shown(await store.pieces([result], *ALWAYS))
        return stored == wanted

    await eventually(lambda: has(old))
    seen = (await store.status()).seen
    await stack.applied(metric, stack.send(topic, [Event("s1", 11, encode(LATE))]))
    after = [(0, 10, 0, 0), (10, 11, 0, 1), (11, 19, 1, 0), (19, 22, 1, 1), (22, None, 4, 0)]
    await eventually(lambda: has([(a * SECOND, b and b * SECOND, v, s) for a, b, v, s in after]))
    assert shown(await store.pieces([result], *ALWAYS, as_of=seen)) == old

    async def agree() -> bool:
        answered = await spans_of_workers(stack, metric, ["s1"])
        return await spans_of_store(store, metric, ["s1"]) == answered

    await eventually(agree)
    client = await stack.temporal()
    tellers = [spec.worker_id for spec in told_of(planned, history=True)]
    assert len(tellers) == len(stored_nodes(planned)) == (11 if metric.history else 1)
    assert {health.state for health in await examine(client, tellers)} == {"ok"}
    assert set(tellers) <= set((await remove_metric(client, metric.name)).stopped)


def sessions(many: int, rng: random.Random) -> list[Event]:
    """Events of so many sessions in the order in which they come: one in twenty late, some of these by more
    than the source allows.
    """
    columns = {
        "playerStateChange": ["play", "buffer", "pause"],
        "userAction": ["seek"],
        "cdnChange": ["CDN1", "CDN2"],
    }
    coming = []
    for number in range(many):
        key, time = f"session-{number}", rng.randrange(300)
        for _ in range(20):
            column = rng.choice(list(columns))
            said = {"session_id": key, "timestamp": time, column: rng.choice(columns[column])}
            delay = rng.randrange(60) if rng.random() < 0.05 else 0
            coming.append((time + delay, len(coming), Event(key, time, encode(said))))
            time += rng.randrange(1, 20)
    return [event for _, _, event in sorted(coming, key=lambda one: one[:2])]


@pytest.mark.long
async def test_thousands_of_sessions_are_stored_as_answered(stack: Stack, store: HistoryStore) -> None:
    """A worker process is killed meanwhile. Every span of every node, computed from stored events, and as
    stored itself, is what the workers answer.
    """
    source = CIRR.source.model_copy(update={"topic": "many-events", "allowed_lateness": 30 * SECOND})
    metric = EVERY.model_copy(update={"name": "many", "source": source})
    await stack.apply(metric)
    coming = sessions(SESSIONS, random.Random(7))
    for part in range(0, len(coming), step := len(coming) // 10):
        stored = stack.send("many-events", coming[part : part + step])
        if part == 3 * step:
            stack.stop("worker", signal.SIGKILL)
            stack.start_worker()
        await eventually(partial(has_applied, stack, metric, stored), 600)
    [definition] = scope_of(metric).definitions

    async def judged() -> int:
        of = {one.definition: one.outcomes for one in (await store.status()).definitions}
        return sum(of.get(definition, {}).values())

    async def all_judged() -> bool:
        return await judged() == len(coming)

    await eventually(all_judged, 600)
    computed = await compute(store, metric.expression, metric.source, keys=None)
    assert len(coming) * 0.9 < computed.events < len(coming)  # some are too late
    client, planned = TimelineClient(await stack.temporal()), plan(metric)
    for node in planned.nodes:
        answers = await client.all_spans("many", 0, 10_000, node=node.expression)
        assert len(answers) > 0.95 * SESSIONS
        reader = computed.reader(node.expression)
        for answer in answers:
            assert reader.spans(answer.key, 0, 10_000).spans == answer.spans

        async def as_computed(node: NodeSpec = node) -> bool:
            pieces = await store.pieces([stored_name(planned, node)], *ALWAYS)
            expected = computed.pieces(node.expression, *ALWAYS)
            return [(p.key, *one) for p, one in zip(pieces, shown(pieces), strict=True)] == [
                (p.key, *one) for p, one in zip(expected, shown(expected), strict=True)
            ]

        await eventually(as_computed)


@pytest.mark.long
async def test_rebuilding_restores_what_the_store_lost(
    stack: Stack, store: HistoryStore, address: str
) -> None:
    """Events are deleted behind its back; the feeder, started again, reads them from the broker."""
    source = CIRR.source.model_copy(update={"topic": "lost-events"})
    metric = CIRR.model_copy(update={"name": "lost", "source": source})
    await stack.apply(metric)
    stack.send("lost-events", worked_example())
    [definition] = scope_of(metric).definitions

    async def has_all() -> bool:
        return len(await store.events(definition, *ALWAYS)) == 10

    await eventually(has_all)
    stack.stop("feeder")
    with closing(sqlite3.connect(address.partition(":")[2])) as behind:
        number = "(select id from definitions where name = ?)"
        behind.execute(f"delete from verdicts where definition = {number} and minor > 3", (definition,))
        behind.commit()
    done = stack.run("timeline_workers", "history", "rebuild", "--history", address)
    assert "read again when the feeder starts" in done.stdout, done.stderr
    assert not await has_all()
    stack.start_feeder()
    await eventually(has_all)


async def has_applied(stack: Stack, metric: Metric, stored: Stored) -> bool:
    for status in (await stack.statuses(metric)).values():
        reached = {p["partition"]: (p["major"], p["minor"]) for p in status["state"]["progress"]}
        if any(reached.get(p, (-1, -1)) < at for p, at in stored.last.items()):
            return False
    return True
