"""Computed timelines: stored events give what the workers answer, for every node, late events included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from feeder.routing.router import MetricGroup, Router
from tests.properties import test_alone as alone
from timeline_workers.errors import Code, QuestionError, UnknownNameError
from timeline_workers.history.computed import Computed, compute
from timeline_workers.history.model import (
    Judged,
    Outcome,
    Position,
    RawEvent,
    Verdict,
    definition_of,
)
from timeline_workers.history.store import HistoryStore
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import worker_id
from timeline_workers.plan.reading import reading_of

from .model_store import ModelStore
from .scripts import Clock
from .stores import sqlite

SECOND = 1_000_000
PUBLISHED = 10**15
CIRR = """duration_where(latest_event_to_state(playerStateChange) == "buffer"
    && has_existed(playerStateChange == "play") && !has_existed_within(userAction == "seek", 5s)
    && latest_event_to_state(cdnChange) == "CDN1")"""
CIRR_SOURCE = Source(
    topic="playback-events", key="session_id", time="timestamp", allowed_lateness=60 * SECOND
)


def position(place: int) -> Position:
    return Position(0, 0, place)


class Teed(alone.Shared):
    """Workers and routers, and what a feeder would store beside: ``appends``, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[tuple[list[RawEvent], list[Judged]]] = []

    def _deliver(self, router: Router, group: MetricGroup, messages: Any) -> None:
        before = router.clock.reached[0].watermark if 0 in router.clock.reached else None
        routed: list[Any] = []
        route = router.route

        def keeping(given: Any) -> Any:
            routed.append(route(given))
            return routed[0]

        router.route = keeping  # type: ignore[method-assign, assignment]
        try:
            super()._deliver(router, group, messages)
        finally:
            router.route = route  # type: ignore[method-assign]
        reasons = {refused.row: refused for refused in routed[0].refused}
        verdicts = []
        for row, (payload, place) in enumerate(
            zip(messages.payloads, messages.position.minor.tolist(), strict=True)
        ):
            event = json.loads(payload)
            key, time = event["k"], event["t"] * SECOND
            below = before is not None and time < before
            refused = reasons.get(row)
            outcome = Outcome.ACCEPTED
            if refused is not None:
                outcome = Outcome.LATE if refused.reason == "late" else Outcome.REFUSED
            reason, words = (refused.reason, refused.message) if refused else ("", "")
            verdicts.append(Verdict(position(place), outcome, key, time, reason, words, below))
            if key is not None:
                reached = time - group.source.allowed_lateness
                before = reached if before is None else max(before, reached)
        raw = [
            RawEvent(position(place), payload, PUBLISHED)
            for payload, place in zip(messages.payloads, messages.position.minor.tolist(), strict=True)
        ]
        mark = router.clock.reached[0].watermark if 0 in router.clock.reached else None
        self.appends.append((raw, [Judged(definition_of(group.reading), verdicts, {0: mark})]))


async def keep(store: HistoryStore, teed: Teed) -> None:
    for raw, judged in teed.appends:
        await store.append_events("t", raw, judged)
    teed.appends.clear()


def assert_same(computed: Computed, teed: Teed, metric: Metric) -> None:
    """Every worker of the metric answers as the computed node does."""
    planned = teed.plans[metric.name]
    assert {node.text for node in computed.nodes} == {node.expression for node in planned.nodes}
    for node in planned.nodes:
        worker, reader = teed.workers[worker_id(node.name, "p0")], computed.reader(node.expression)
        for key in ("p", "q"):
            try:
                spans = worker.ask("spans", {"key": key, "unit": "us", **alone.RANGE})
            except UnknownNameError:
                assert key not in computed.keys
                continue
            unit, reader.unit = reader.unit, "us"
            assert reader.spans(key, *alone.RANGE.values()).model_dump() == spans
            at = worker.ask("value_at", {"key": key, "unit": "us", "at": 5 * SECOND})
            assert reader.value_at(key, 5 * SECOND).model_dump() == at
            reader.unit = unit


def run(script: Callable[[HistoryStore], Awaitable[None]]) -> None:
    async def with_store() -> None:
        async with sqlite(Clock([1])) as store:
            await script(store)

    asyncio.run(with_store())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_computed_nodes_answer_as_workers_do(data: st.DataObject) -> None:
    """Random metrics over one topic, applied in between, lateness, refusals; and as it was known before."""
    metrics = data.draw(alone._metrics())
    teed, events = Teed(), []
    waiting = list(metrics)

    async def script(store: HistoryStore) -> None:
        for _ in range(data.draw(st.integers(1, 4))):
            for _ in range(data.draw(st.integers(0, len(waiting)))):
                teed.apply(waiting.pop())
            batch = data.draw(st.lists(alone._event, min_size=1, max_size=5))
            events.extend(batch)
            teed.feed(batch)
            await keep(store, teed)
        seen = (await store.status()).seen
        for planned in teed.plans.values():
            metric = planned.metric
            found = await compute(store, metric.expression, metric.source, keys=["p", "q"])
            assert_same(found, teed, metric)
        then = {
            name: await compute(store, planned.metric.expression, planned.metric.source, keys=None)
            for name, planned in teed.plans.items()
        }
        teed.feed(data.draw(st.lists(alone._event, min_size=1, max_size=5)))
        await keep(store, teed)
        for name, planned in teed.plans.items():
            again = await compute(
                store, planned.metric.expression, planned.metric.source, keys=None, as_of=seen
            )
            for node in again.nodes:
                now, before = (c.pieces(node.text, -(2**60), 2**60) for c in (again, then[name]))
                assert now == before

    run(script)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_unapplied_expression_answers_as_if_applied(data: st.DataObject) -> None:
    """What-if: an expression that reads other columns takes another metric's word on what is late."""
    source = Source(
        topic="t", key="k", time="t", allowed_lateness=data.draw(st.sampled_from([0, 3 * SECOND]))
    )
    applied, tried = (
        Metric(name=name, source=source, expression=data.draw(st.sampled_from(list(alone.NEEDS))))
        for name in ("applied", "tried")
    )
    teed = Teed()
    teed.apply(applied)

    async def script(store: HistoryStore) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            teed.feed(data.draw(st.lists(alone._event, min_size=1, max_size=6)))
            await keep(store, teed)
        like = definition_of(reading_of(applied))
        found = await compute(store, tried.expression, source, keys=["p", "q"], like=like)
        teed.apply(tried)
        assert_same(found, teed, tried)

    run(script)


def worked_example(late: Sequence[tuple[int, str, str]] = ()) -> list[dict[str, Any]]:
    says = [
        (0, "playerStateChange", "init"),
        (1, "cdnChange", "CDN1"),
        (2, "playerStateChange", "play"),
        (10, "playerStateChange", "buffer"),
        (14, "userAction", "seek"),
        (22, "playerStateChange", "play"),
        *late,
    ]
    return [{"session_id": "s1", "timestamp": time, column: value} for time, column, value in says]


async def stored(store: HistoryStore, events: Sequence[dict[str, Any]], first: int = 0) -> str:
    """Append accepted events of the worked example; the name of their source definition."""
    metric = Metric(name="cirr", source=CIRR_SOURCE, expression=CIRR)
    name = definition_of(reading_of(metric))
    raw = [
        RawEvent(position(first + place), json.dumps(event).encode()) for place, event in enumerate(events)
    ]
    verdicts = [
        Verdict(one.position, Outcome.ACCEPTED, event["session_id"], event["timestamp"] * SECOND)
        for one, event in zip(raw, events, strict=True)
    ]
    await store.append_events("playback-events", raw, [Judged(name, verdicts, {0: 20 * SECOND})])
    return name


async def value(store: HistoryStore, at: int, as_of: int | None = None) -> Any:
    found = await compute(store, CIRR, CIRR_SOURCE, keys=["s1"], as_of=as_of)
    answer = found.reader(found.nodes[-1].text).value_at("s1", at)
    return answer.value, answer.final


async def test_late_event_changes_now_and_not_then() -> None:
    async with sqlite(Clock([1])) as store:
        await stored(store, worked_example())
        seen = (await store.status()).seen
        await stored(store, [{"session_id": "s1", "timestamp": 11, "userAction": "seek"}], first=6)
        assert await value(store, 14) == (1, True)
        assert await value(store, 14, as_of=seen) == (4, False)


async def test_pieces_are_exact_and_whole() -> None:
    async with sqlite(Clock([1])) as store:
        await stored(store, worked_example())
        found = await compute(store, CIRR, CIRR_SOURCE, keys=["s1"])
        assert len(found.nodes) == 11
        shown = found.pieces(found.nodes[-1].text, 12 * SECOND, 20 * SECOND)
        expected = [(10, 14, "0", "1"), (14, 19, "4", "0"), (19, 22, "4", "1")]
        assert [(p.start, p.until, str(p.value), str(p.slope)) for p in shown] == [
            (start * SECOND, until * SECOND, *said) for start, until, *said in expected
        ]
        early = await compute(store, CIRR, CIRR_SOURCE, keys=["s1"], until=14 * SECOND)
        assert early.events == 4


async def test_forgotten_beginning_is_refused_by_name() -> None:
    async with sqlite(Clock([1])) as store:
        name = await stored(store, worked_example())
        other = [{"session_id": "s2", "timestamp": 20, "cdnChange": "CDN1"}]
        await stored(store, other, first=6)
        await store.forget(10 * SECOND)
        with pytest.raises(QuestionError, match=r"'s1' before 1970-01-01T00:00:10.* forgotten") as refused:
            await value(store, 22)
        assert refused.value.code is Code.NOT_KEPT
        found = await compute(store, CIRR, CIRR_SOURCE, keys=["s2"], like=name)
        assert found.keys == ["s2"]


async def test_unknown_definition_and_node_are_named() -> None:
    store = ModelStore(Clock([1]))
    with pytest.raises(UnknownNameError, match="source definition 'playback-events-"):
        await compute(store, CIRR, CIRR_SOURCE, keys=["s1"])
    await stored(store, worked_example())
    found = await compute(store, CIRR, CIRR_SOURCE, keys=["s1"])
    with pytest.raises(UnknownNameError, match="'nothing' is no node"):
        found.reader("nothing")


async def test_aggregate_takes_all_keys_or_none() -> None:
    async with sqlite(Clock([1])) as store:
        like = await stored(store, worked_example())
        text = f"{CIRR} | aggregate(group_by(cdnChange), sum, count)"
        found = await compute(store, text, CIRR_SOURCE, keys=None, like=like)
        node = found.nodes[-1].text
        assert found.reader(node, "sum").value_at("CDN1", 22).value == 7
        assert found.groups(node) == [None, "CDN1"]
        with pytest.raises(QuestionError, match="'avg' is no function"):
            found.reader(node, "avg")
        with pytest.raises(QuestionError, match="over all keys"):
            await compute(store, text, CIRR_SOURCE, keys=["s1"], like=like)
