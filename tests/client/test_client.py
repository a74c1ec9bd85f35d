"""The client against a cluster: metrics, questions, health, watching; errors by their codes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.oracle.events import Event
from tests.workflows.cluster import CIRR, cluster, feed, until_everything_arrived, worked_example
from timeline_workers import Code, MetricError, QuestionError, TimelineClient, UnknownNameError
from timeline_workers.answers.answer_models import ValueAt
from timeline_workers.client import Question, Written
from timeline_workers.metric.model import Metric, Source

pytestmark = pytest.mark.integration

SOURCE = Source.model_validate({"topic": "playback", "key": "session", "time": "t", "partitions": 2})
BUFFERING = Metric(
    name="buffering",
    source=SOURCE,
    expression='duration_where(latest_event_to_state(playerStateChange) == "buffer")',
)
BY_CDN = Metric(
    name="by-cdn",
    source=SOURCE,
    expression=f"{BUFFERING.expression} | aggregate(group_by(cdnChange), count, sum)",
)


def placed(events: list[Event], first: int = 0) -> list[Event]:
    """``events`` at positions that follow each other, from ``first`` on."""
    return [replace(event, position=(0, 0, first + n)) for n, event in enumerate(events)]


@pytest.fixture
async def client() -> AsyncIterator[TimelineClient]:
    async with cluster() as temporal:
        yield TimelineClient(temporal)


async def test_a_metric_is_applied_asked_and_removed(client: TimelineClient, tmp_path: Path) -> None:
    """A file is applied; one key, some and all are asked at its result and at an inner node."""
    file = tmp_path / "cirr.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "name": "cirr",
                "source": {"topic": "playback", "key": "session", "time": "t", "partitions": 2},
                "expression": CIRR,
            }
        )
    )
    assert (await client.apply(file)).outcome == "new"
    (applied,) = await client.metrics()
    assert applied == await client.metric("cirr")
    events = placed([*worked_example("s1"), *worked_example("s2")])
    await feed(client.temporal, applied, events)
    await until_everything_arrived(client.temporal, applied, events)

    one = await client.value_at("cirr", "s1", 22)
    assert (one.value, one.since, one.slope, one.health) == (7, 22, 0, None)
    assert await client.value_at("cirr", "s1", datetime.fromtimestamp(22, UTC)) == one
    assert await client.value_at("cirr", Written("s1"), 22) == one
    seek = 'has_existed_within(userAction == "seek", 5s)'
    assert [span.value for span in (await client.spans("cirr", "s1", 0, 60, node=seek)).spans] == [
        False,
        True,
        False,
    ]
    assert (await client.change("cirr", "s1", 0, 60)).change == 7
    assert [c.change for c in await client.changes("cirr", 0, 30, ["s2"], every="10s")] == [0, 5, 2]
    assert [v.key for v in await client.values("cirr", 22)] == ["s1", "s2"]
    assert [s.key for s in await client.all_spans("cirr", 0, 60, ["s2", "s1"])] == ["s2", "s1"]

    described = await client.describe("cirr")
    assert described.metric == applied
    assert {worker.state for worker in described.workers} == {"ok"}
    assert [row.metric for row in (await client.overview()).metrics] == ["cirr"]
    assert (await client.delete("cirr")).kept == ()
    assert await client.metrics() == []


async def test_an_aggregate_is_asked_by_group_and_function(client: TimelineClient) -> None:
    """Without a function, all of them answer; one question about one answer needs it named."""
    await client.apply(BY_CDN)
    events = worked_example()
    await feed(client.temporal, BY_CDN, events)
    await until_everything_arrived(client.temporal, BY_CDN, events)
    assert (await client.value_at("by-cdn", "CDN1", 22, aggregate="count")).value == 1
    both = await client.values("by-cdn", 22, ["CDN1"])
    assert [one.aggregate for one in both] == ["count", "sum"]
    with pytest.raises(QuestionError, match="aggregate=: count, sum"):
        await client.value_at("by-cdn", "CDN1", 22)
    with pytest.raises(UnknownNameError, match="it has count, sum"):
        await client.value_at("by-cdn", "CDN1", 22, aggregate="max")


async def test_what_is_refused_has_a_code(client: TimelineClient) -> None:
    """Names that are not known, wrong metrics and wrong questions are told apart without reading words."""
    await client.apply(BUFFERING)
    events = worked_example()
    await feed(client.temporal, BUFFERING, events)
    await until_everything_arrived(client.temporal, BUFFERING, events)
    for key, node, code in (
        ("s9", None, Code.UNKNOWN_KEY),
        (1.5, None, Code.UNKNOWN_KEY),
        ("s1", "no-node", Code.UNKNOWN_NODE),
    ):
        with pytest.raises(UnknownNameError) as unknown:
            await client.value_at("buffering", key, 1, node=node)
        assert unknown.value.code is code
    with pytest.raises(UnknownNameError) as unknown:
        await client.value_at("bufering", "s1", 1)
    assert unknown.value.code is Code.UNKNOWN_METRIC
    with pytest.raises(UnknownNameError) as unknown:
        await client.source("none")
    assert unknown.value.code is Code.UNKNOWN_SOURCE
    with pytest.raises(QuestionError) as wrong:
        await client.value_at("buffering", "s1", "soon")
    assert wrong.value.code is Code.WRONG_QUESTION
    with pytest.raises(MetricError) as wrong_metric:
        await client.apply("{name: a, expression: x, source: 3}")
    assert wrong_metric.value.code is Code.WRONG_METRIC


async def test_a_stored_source_is_kept_while_it_is_named(client: TimelineClient) -> None:
    """A metric that names a stored source is applied with it; the catalog refuses to remove it then."""
    stored = "kind: source\nname: playback\nsource: {topic: playback, key: session, time: t}\n"
    assert (await client.apply_source(stored)).version == 1
    assert [one.definition.name for one in await client.sources()] == ["playback"]
    await client.apply("name: played\nsource: playback\nexpression: event_count(playerStateChange)\n")
    with pytest.raises(MetricError, match="played") as refused:
        await client.delete_source("playback")
    assert refused.value.code is Code.SOURCE_IN_USE
    await client.delete("played")
    await client.delete_source("playback")
    assert await client.sources() == []


async def test_a_watch_tells_of_each_change_once(client: TimelineClient) -> None:
    """It begins with what is known, waits for keys that come, and says nothing of what stays the same."""
    await client.apply(BUFFERING)
    events = worked_example()
    await feed(client.temporal, BUFFERING, events[:4])
    await until_everything_arrived(client.temporal, BUFFERING, events[:4])
    said: asyncio.Queue[ValueAt] = asyncio.Queue()

    async def listen() -> None:
        async with aclosing(client.watch("buffering", ["s1", "s2"], at=30, interval=0.05)) as answers:
            async for answer in answers:
                assert isinstance(answer, ValueAt)
                said.put_nowait(answer)

    async with asyncio.timeout(60):
        listening = asyncio.create_task(listen())
        try:
            assert (await said.get()).value == 20
            await feed(client.temporal, BUFFERING, events[4:6])
            assert (await said.get()).value == 12
            await feed(client.temporal, BUFFERING, placed(worked_example("s2"), 100))
            while (answer := await said.get()).value != 12:
                assert answer.key == "s2"
            assert answer.key == "s2"
            assert said.empty()
        finally:
            listening.cancel()


async def test_a_watch_of_now_tells_of_pieces(client: TimelineClient) -> None:
    """A duration that grows is no change as long as it grows as it did; that it stops is one."""
    await client.apply(BUFFERING)
    events = worked_example()
    await feed(client.temporal, BUFFERING, events[:4])
    await until_everything_arrived(client.temporal, BUFFERING, events[:4])
    async with asyncio.timeout(60), aclosing(client.watch("buffering", ["s1"], interval=0.05)) as answers:
        first = await anext(answers)
        assert isinstance(first, ValueAt)
        assert first.slope == 1
        following = asyncio.ensure_future(anext(answers))
        # Another key's events make it ask again, and find nothing new.
        other = placed(worked_example("s3")[:4], 50)
        await feed(client.temporal, BUFFERING, other)
        await until_everything_arrived(client.temporal, BUFFERING, other)
        await feed(client.temporal, BUFFERING, placed(events[4:6], 100))
        second = await following
        assert isinstance(second, ValueAt)
        assert (second.value, second.since, second.slope) == (12, 22, 0)


def test_a_question_has_the_parameters_of_its_kind() -> None:
    """What is missing or does not belong is said before anybody is asked."""
    with pytest.raises(QuestionError, match="value_at needs at"):
        Question(kind="value_at")
    with pytest.raises(QuestionError, match="spans has no every"):
        Question(kind="spans", start=0, end=1, every="1m")
