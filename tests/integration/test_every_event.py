"""Every event that is published is applied or in the dead-letter topic, once: through the real broker, the
real feeder and real workers.
"""

from __future__ import annotations

import json
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pulsar
import pytest

from deploy.pulsar_standalone import Broker
from tests.integration.bad_events import AHEAD, BAD, COLUMNS, GOOD
from tests.integration.stack import Stack, event, eventually, running_stack
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import partition_labels, plan, worker_id
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar
from workflows.client import ask

pytestmark = pytest.mark.integration

COUNT = 'event_count(state == "on")'


class Place(NamedTuple):
    """Where the broker put a message: partition of the topic, and ``ledger:entry:index``."""

    partition: int
    position: str


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("every-event"), topic_partitions=2, broker=broker) as made:
        made.start_worker()
        yield made


def counting(name: str, topic: str, **source: Any) -> Metric:
    declared = {"topic": topic, "key": "id", "time": "t", "columns": COLUMNS, "partitions": 2, **source}
    return Metric(name=name, source=Source.model_validate(declared), expression=COUNT)


def publish(stack: Stack, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Place]:
    """Send (key, payload) pairs in order, some in batches of the broker's; return where each one went."""
    client = connect_pulsar(stack.addresses.pulsar)
    try:
        producer = client.create_producer(
            topic,
            batching_max_messages=50,
            block_if_queue_full=True,
            compression_type=pulsar.CompressionType.LZ4,
        )
        places: dict[int, Place] = {}
        stored = threading.Event()

        def taken(number: int, result: pulsar.Result, at: pulsar.MessageId) -> None:
            assert result == pulsar.Result.Ok
            index = max(at.batch_index(), 0)
            places[number] = Place(max(at.partition(), 0), f"{at.ledger_id()}:{at.entry_id()}:{index}")
            if len(places) == len(messages):
                stored.set()

        for number, (key, payload) in enumerate(messages):
            producer.send_async(payload, lambda r, at, n=number: taken(n, r, at), partition_key=key)
        producer.flush()
        assert stored.wait(60)
        return [places[number] for number in range(len(messages))]
    finally:
        client.close()


def letters(stack: Stack, topic: str, expected: int) -> list[pulsar.Message]:
    """All dead letters of ``topic``, of which there are at least ``expected``; markers end the reading."""
    client = connect_pulsar(stack.addresses.pulsar)
    try:
        name = f"{topic}-dead-letter"
        producer = client.create_producer(name)
        ends = [producer.send(b"the end of the test", partition_key=str(i)) for i in range(32)]
        assert len({at.partition() for at in ends}) == len(client.get_topic_partitions(name))
        reader = client.create_reader(name, pulsar.MessageId.earliest)
        found: list[pulsar.Message] = []
        read: set[bytes] = set()
        missing = len(ends)
        while missing:
            letter = reader.read_next(timeout_millis=30_000)
            place = letter.message_id().serialize()
            if place in read:
                continue  # the embedded broker delivers some entries to a Reader twice
            read.add(place)
            if letter.data() == b"the end of the test":
                missing -= 1
            else:
                found.append(letter)
        assert len(found) >= expected
        return found
    finally:
        client.close()


async def counts(stack: Stack, metric: Metric) -> dict[Any, int]:
    """The metric's last value of every key, by the many-keys questions that `timeline query --all` asks."""
    planned = plan(metric)
    answers = ask.ask(await stack.temporal(), planned, planned.result, "value_at", [{"at": 10**9}])
    return {answer["key"]: answer["value"] async for answer in answers}


async def fed(stack: Stack, metric: Metric, last: Sequence[Place]) -> None:
    """Return when the result workers have applied everything up to ``last``, or told that it is behind."""
    planned = plan(metric)
    places = ((p.partition, *map(int, p.position.split(":"))) for p in last)
    wanted = {partition: (ledger, entry << 16 | index) for partition, ledger, entry, index in places}
    client = await stack.temporal()

    async def done() -> bool:
        for label in partition_labels(planned):
            status = await ask.ask_worker(client, worker_id(planned.result.name, label), "status")
            reached = {p["partition"]: (p["major"], p["minor"]) for p in status["state"]["progress"]}
            if any(reached.get(partition, (-1, -1)) < at for partition, at in wanted.items()):
                return False
        return True

    await eventually(done)


def last_of(places: Sequence[Place]) -> list[Place]:
    """The furthest place of each partition."""

    def order(place: Place) -> tuple[int, ...]:
        return tuple(map(int, place.position.split(":")))

    return [
        max((p for p in places if p.partition == partition), key=order)
        for partition in {p.partition for p in places}
    ]


async def test_good_bad_and_late_events_count_once(stack: Stack) -> None:
    """A mix of good and every kind of bad event, then late ones: each is counted by its key's worker, or is
    in the dead-letter topic with its reason, a message with the value, and the position it had; and the
    feeder counts the same.
    """
    topic = "every-event"
    metric = counting("every-event", topic, allowed_lateness="1h")
    await stack.apply(metric)
    rng = random.Random(5)
    good = [
        event(f"key-{rng.randrange(30)}", rng.randrange(600), state=rng.choice(["on", "off"]))
        for _ in range(700)
    ]
    mixed = [(e.key, e.payload) for e in good]
    mixed += [("odd", payload) for payload in GOOD]
    mixed += [(f"bad-{i}", bad.payload) for i, bad in enumerate([*BAD, AHEAD])]
    rng.shuffle(mixed)
    ahead = [event(f"ahead-{i}", 100_000, state="on") for i in range(40)]
    late = [event(f"key-{i}", i, state="on") for i in range(20)]

    stack.start_feeder("--batch", "64")
    places = publish(stack, topic, mixed)
    after = publish(stack, topic, [(e.key, e.payload) for e in ahead])
    assert {p.partition for p in after} == {0, 1}
    places_late = publish(stack, topic, [(e.key, e.payload) for e in late])
    await fed(stack, metric, last_of([*places, *after, *places_late]))
    assert stack.stop("feeder") == 0

    reasons = {bad.payload: bad for bad in [*BAD, AHEAD]}
    refused = {
        place: (key, payload, reasons[payload].reason, reasons[payload].words)
        for place, (key, payload) in zip(places, mixed, strict=True)
        if payload in reasons
    } | {place: (e.key, e.payload, "late", "watermark") for place, e in zip(places_late, late, strict=True)}
    assert len(refused) == len(BAD) + 1 + len(late)
    found = letters(stack, topic, len(refused))
    seen = Counter()
    for letter in found:
        about = letter.properties()
        place = Place(int(about["partition"]), about["position"])
        seen[place] += 1
        key, payload, reason, words = refused[place]
        assert letter.data() == payload
        assert (letter.partition_key(), about["reason"]) == (key, reason)
        assert words in about["message"], about["message"]
        assert (about["topic"], about["metrics"]) == (topic, "every-event")
    assert seen == Counter(dict.fromkeys(refused, 1))

    expected = Counter({e.key: 0 for e in [*good, *ahead]} | {"odd": 0})
    expected.update(e.key for e in [*good, *ahead] if json.loads(e.payload)["state"] == "on")
    expected["odd"] = 1
    assert await counts(stack, metric) == dict(expected)

    [told] = [
        line
        for line in map(json.loads, stack.log("feeder").splitlines())
        if line["event"] == "feeder stopped"
    ]
    assert told["events"] == len(good) + len(GOOD) + len(ahead)
    assert told["late"] == len(late)
    assert told["refused"] == len(BAD) + 1
    assert told["reasons"] == dict(Counter(refused[place][2] for place in refused))


@pytest.mark.long_on_pulsar
async def test_a_feeder_killed_repeatedly_loses_nothing(stack: Stack) -> None:
    """kill -9 at three random points of the feeding of two partitions: every event is counted once, and
    every bad event is in the dead-letter topic (perhaps twice, with the same position).
    """
    topic = "killed-feeder"
    metric = counting("killed-feeder", topic, allowed_lateness="1h")
    await stack.apply(metric)
    rng = random.Random(6)
    good = [event(f"key-{i % 50}", rng.randrange(600), state="on") for i in range(6_000)]
    messages = [(e.key, e.payload) for e in good]
    for i in range(60):
        messages.insert(
            rng.randrange(len(messages)), (f"key-{i % 50}", b'{"id": "a", "t": 1, "n": "%d"}' % i)
        )
    places = publish(stack, topic, messages)

    async def counted(many: int) -> bool:
        return sum((await counts(stack, metric)).values()) >= many

    for many in sorted(rng.sample(range(1, len(good)), 3)):
        stack.start_feeder("--batch", "100", "--wait-ms", "1")
        await eventually(lambda many=many: counted(many))
        stack.stop("feeder", signal.SIGKILL)
    stack.start_feeder()
    # Without these the last feeder might have nothing to do, and be stopped before it has begun.
    ends = publish(
        stack, topic, [(e.key, e.payload) for e in (event(f"end-{i}", 600, state="on") for i in range(40))]
    )
    assert {place.partition for place in ends} == {0, 1}
    await fed(stack, metric, last_of([*places, *ends]))
    assert stack.stop("feeder") == 0

    expected = {f"key-{i}": 120 for i in range(50)} | {f"end-{i}": 1 for i in range(40)}
    assert await counts(stack, metric) == expected
    bad = {place: payload for place, (_, payload) in zip(places, messages, strict=True) if b'"n"' in payload}
    found = letters(stack, topic, len(bad))
    stored = {Place(int(m.properties()["partition"]), m.properties()["position"]): m.data() for m in found}
    assert stored == bad
