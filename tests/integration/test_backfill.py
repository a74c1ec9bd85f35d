"""Metrics that are applied to a topic that is being fed already get its past; ``--from``. On each broker."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from typing import Any

import pulsar
import pytest

from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.integration.test_every_event import Place, fed, last_of, publish
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import partition_labels, plan, worker_id
from workflows.client import ask

pytestmark = pytest.mark.integration

OLD = 'duration_where(latest_event_to_state(state) == "on")'
NEW = 'duration_where(has_existed_within(state == "on", 3s) && !has_existed(size > 97))'
INSTANTS = [0, 40, 95.5, 150, 10_000]


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    """Servers with topics of two partitions, and a worker."""
    with running_stack(tmp_path_factory.mktemp("backfill"), topic_partitions=2, broker=broker) as made:
        made.start_worker()
        yield made


def metric(name: str, topic: str, expression: str, **source: Any) -> Metric:
    declared = {"topic": topic, "key": "id", "time": "t", "columns": {"state": "string", "size": "int"}}
    return Metric(
        name=name,
        source=Source.model_validate({**declared, "allowed_lateness": "20s", "partitions": 2, **source}),
        expression=expression,
    )


def some_events(seed: int, count: int, begin: float) -> list[tuple[str, bytes]]:
    """Events whose times wander on, so that some are late; some are bad."""
    rng = random.Random(seed)
    messages = []
    for number in range(count):
        time = begin + 100 * number / count + rng.uniform(-30, 5)
        state, size = rng.choice(["on", "off"]), rng.randrange(100)
        made = event(f"key-{rng.randrange(40)}", max(0, round(time, 3)), state=state, size=size)
        messages.append((made.key, made.payload if rng.random() < 0.98 else b"{bad"))
    return messages


async def answers(stack: Stack, metric: Metric) -> dict[Any, Any]:
    """Value and finality of every key at several instants."""
    planned = plan(metric)
    asked = ask.ask(
        await stack.temporal(), planned, planned.result, "value_at", [{"at": at} for at in INSTANTS]
    )
    return {(one["key"], one["at"]): (one["value"], one["final"]) async for one in asked}


async def counted(stack: Stack, metric: Metric) -> list[tuple[int, int, int]]:
    """Watermark, late and refused counts of the result workers."""
    planned = plan(metric)
    return [
        (state["watermark"], state["late"], state["refused"])
        for label in partition_labels(planned)
        for state in [
            (await ask.ask_worker(await stack.temporal(), worker_id(planned.result.name, label), "status"))[
                "state"
            ]
        ]
    ]


async def told_alike(stack: Stack, metric: Metric, other: Metric) -> None:
    """Return when both have the same watermarks and counts."""

    async def alike() -> bool:
        return await counted(stack, metric) == await counted(stack, other)

    await eventually(alike)


@pytest.mark.long_on_pulsar
@pytest.mark.parametrize("new", ["leaves", "group"])
async def test_a_later_metric_answers_like_an_earlier_one(stack: Stack, new: str) -> None:
    """Applied in the middle of a stream of events, some of them late; new leaves beside those that are fed,
    or a source that is read in another way. The feeder is killed while it reads the past.
    """
    topic = "later"
    # Named apart by what changes no answer, so that they share nothing.
    reference = metric("reference", topic, NEW, max_ahead="2d")
    running = metric("running", topic, OLD)
    later = metric("later", topic, NEW, **({} if new == "leaves" else {"max_ahead": "3d"}))
    await stack.apply(reference)
    await stack.apply(running)
    stack.start_feeder("--batch", "500")
    first = publish(stack, topic, some_events(1, 4_000, 0))
    await fed(stack, running, last_of(first))
    await stack.apply(later)
    sending = asyncio.create_task(asyncio.to_thread(publish, stack, topic, some_events(2, 4_000, 100)))

    async def begun() -> bool:
        return "backfill started" in stack.log("feeder")

    await eventually(begun)
    stack.stop("feeder", signal.SIGKILL)
    stack.start_feeder("--batch", "500")
    places = await sending
    for each in (reference, running, later):
        await fed(stack, each, last_of([*first, *places]))
    await told_alike(stack, later, reference)
    expected = await answers(stack, reference)
    assert len(expected) == 40 * len(INSTANTS)
    assert await answers(stack, later) == expected
    assert all(late > 100 and refused > 50 for _, late, refused in await counted(stack, later))


async def test_a_metric_gets_the_past_of_a_quiet_topic(stack: Stack) -> None:
    """After a restart of the feeder, too; and then hears what is published next."""
    topic = "over"
    running = metric("running", topic, OLD)
    await stack.apply(running)
    stack.start_feeder()
    places = publish(stack, topic, some_events(3, 500, 0))
    await fed(stack, running, last_of(places))
    beside, apart = metric("beside", topic, NEW), metric("apart", topic, NEW, max_ahead="3d")
    await stack.apply(beside)
    await fed(stack, beside, last_of(places))
    assert stack.stop("feeder") == 0
    await stack.apply(apart)
    stack.start_feeder()
    await fed(stack, apart, last_of(places))
    await told_alike(stack, beside, apart)
    expected = await answers(stack, apart)
    assert expected
    assert await answers(stack, beside) == expected
    more = publish(stack, topic, some_events(4, 500, 90))
    for each in (beside, apart):
        await fed(stack, each, last_of([*places, *more]))
    assert await answers(stack, beside) == await answers(stack, apart) != expected


async def test_a_metric_applied_again_is_rebuilt(stack: Stack) -> None:
    """The feeder that runs reads the past for it, though its subscription is past those events."""
    topic = "rebuilt"
    made = metric("rebuilt", topic, NEW)
    await stack.apply(made)
    stack.start_feeder()
    places = publish(stack, topic, some_events(5, 500, 0))
    await fed(stack, made, last_of(places))
    before = await answers(stack, made), await counted(stack, made)
    await ask.delete(await stack.temporal(), made.name)
    await stack.apply(made)
    await fed(stack, made, last_of(places))
    assert (await answers(stack, made), await counted(stack, made)) == before


@pytest.mark.parametrize("begin", ["earliest", pytest.param("latest", marks=pytest.mark.long), "TIME"])
async def test_the_feeder_begins_where_it_is_told(stack: Stack, begin: str) -> None:
    """At the first message, at what is published after it has begun, or at a time of publishing. Begun once,
    it goes on from there.
    """
    topic = "begun"
    counting = metric("begun", topic, 'event_count(state == "on")')
    await stack.apply(counting)
    old = publish(stack, topic, [(f"key-{i}", event(f"key-{i}", 10, state="on").payload) for i in range(20)])
    middle = last_published(stack, topic, old) + 1
    while True:  # until the broker's clock has gone on
        new = publish(stack, topic, [("new", event("new", 11, state="on").payload)])
        if last_published(stack, topic, new) > middle:
            break
    stack.start_feeder("--from", begin if begin != "TIME" else f"{(middle + 1) / 1000:.3f}")
    if begin == "latest":

        async def feeds() -> bool:
            return '"event": "feeding"' in stack.log("feeder")

        await eventually(feeds)
    wanted = {f"key-{i}" for i in range(20)} if begin == "earliest" else set()
    if begin != "latest":
        wanted.add("new")
    ends = publish(stack, topic, [(f"end-{i}", event(f"end-{i}", 12, state="on").payload) for i in range(20)])
    await fed(stack, counting, last_of([*old, *new, *ends]))
    wanted |= {f"end-{i}" for i in range(20)}

    async def keys() -> set[str]:
        planned = plan(counting)
        client = await stack.temporal()
        asked = ask.ask(client, planned, planned.result, "value_at", [{"at": 100}])
        return {one["key"] async for one in asked}

    assert await keys() == wanted
    assert stack.stop("feeder") == 0
    stack.start_feeder()
    more = publish(
        stack, topic, [(f"more-{i}", event(f"more-{i}", 13, state="on").payload) for i in range(20)]
    )
    await fed(stack, counting, last_of([*ends, *more]))
    assert await keys() == wanted | {f"more-{i}" for i in range(20)}


def last_published(stack: Stack, topic: str, places: list[Place]) -> int:
    """When the broker's clients published the last of ``places``, milliseconds."""
    client = pulsar.Client(stack.addresses.pulsar, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    try:
        reader = client.create_reader(topic, pulsar.MessageId.earliest)
        wanted, latest = set(places), 0
        while wanted:
            message = reader.read_next(timeout_millis=30_000)
            at = message.message_id()
            place = Place(
                max(at.partition(), 0), f"{at.ledger_id()}:{at.entry_id()}:{max(at.batch_index(), 0)}"
            )
            if place in wanted:
                wanted.remove(place)
                latest = max(latest, message.publish_timestamp())
        return latest
    finally:
        client.close()
