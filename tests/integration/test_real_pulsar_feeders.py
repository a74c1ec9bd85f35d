"""Feeders on a real broker: topics made with partitions, feeders that share them, restarts."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pulsar
import pytest

from deploy.pulsar_standalone import Broker
from feeder.topic_feeder import SUBSCRIPTION
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.integration.test_every_event import Place, counting, counts, fed, last_of, letters, publish
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar

pytestmark = pytest.mark.integration

PARTITIONS = 6
KEYS = 48


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, pulsar_broker: Broker) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("feeders"), broker=pulsar_broker) as made:
        made.start_worker()
        yield made


def messages(rng: random.Random, good: int, bad: int) -> list[tuple[str, bytes]]:
    """So many events that count 1 each, equally many for every key, and bad ones between them."""
    sent = [event(f"key-{i % KEYS}", rng.randrange(600), state="on") for i in range(good)]
    mixed = [(e.key, e.payload) for e in sent]
    for i in range(bad):
        mixed.insert(rng.randrange(len(mixed)), (f"key-{i % KEYS}", b'{"id": "a", "t": 1, "n": "%d"}' % i))
    return mixed


def check_letters(stack: Stack, topic: str, places: list[Place], sent: list[tuple[str, bytes]]) -> None:
    """Each bad message has a dead letter with its payload and place, and nothing else has one."""
    bad = {place: payload for place, (_, payload) in zip(places, sent, strict=True) if b'"n"' in payload}
    found = letters(stack, topic, len(bad))
    assert {
        Place(int(m.properties()["partition"]), m.properties()["position"]): m.data() for m in found
    } == bad


def active(broker: Broker, topic: str, partitions: int = PARTITIONS) -> list[str]:
    """Who reads each partition: the address of the connection, '' for nobody."""
    found = []
    for partition in range(partitions):
        stats = broker.admin("GET", f"persistent/public/default/{topic}-partition-{partition}/stats")
        group: dict[str, Any] = stats["subscriptions"].get(SUBSCRIPTION, {})
        by_name = {c["consumerName"]: c["address"] for c in group.get("consumers", ())}
        found.append(by_name.get(group.get("activeConsumerName"), ""))
    return found


async def test_feeders_share_partitions_and_one_takes_over(stack: Stack, pulsar_broker: Broker) -> None:
    """A topic of six partitions, two feeders in one Failover group: both read; kill -9 of one in the middle,
    twice: every event is counted once, every bad one is a dead letter of its place.
    """
    topic = "shared-partitions"
    pulsar_broker.create_topic(topic, PARTITIONS)
    metric = counting(topic, topic, allowed_lateness="1h")
    await stack.apply(metric)

    async def both_read() -> bool:
        return "" not in (readers := active(pulsar_broker, topic)) and len(set(readers)) == 2

    async def counted(many: int) -> bool:
        return sum((await counts(stack, metric)).values()) >= many

    for name in ("one", "other"):
        stack.start(name, "feeder", "--batch", "100", "--wait-ms", "1")
    await eventually(both_read)

    sent = messages(random.Random(7), good=9_600, bad=60)
    places = publish(stack, topic, sent[: len(sent) // 2])
    assert {p.partition for p in places} == set(range(PARTITIONS))
    await eventually(lambda: counted(1_500))
    stack.stop("one", signal.SIGKILL)
    stack.start("one", "feeder", "--batch", "100", "--wait-ms", "1")
    places += await asyncio.to_thread(publish, stack, topic, sent[len(sent) // 2 :])
    await eventually(lambda: counted(6_000))
    stack.stop("other", signal.SIGKILL)

    await fed(stack, metric, last_of(places))
    assert stack.stop("one") == 0
    assert await counts(stack, metric) == dict.fromkeys((f"key-{i}" for i in range(KEYS)), 9_600 // KEYS)
    check_letters(stack, topic, places, sent)


async def test_the_watermark_is_that_of_all_partitions(stack: Stack, pulsar_broker: Broker) -> None:
    """Two feeders know only their own partitions; answers become final, and late events are found, in all."""
    topic = "watermarks"
    pulsar_broker.create_topic(topic, PARTITIONS)
    metric = counting(topic, topic, allowed_lateness="10s")
    await stack.apply(metric)
    for name in ("these", "those"):
        stack.start(name, "feeder")

    async def both_read() -> bool:
        return "" not in (readers := active(pulsar_broker, topic)) and len(set(readers)) == 2

    await eventually(both_read)
    keys = [f"key-{i}" for i in range(KEYS)]
    places = publish(stack, topic, [(key, event(key, 1_000, state="on").payload) for key in keys])
    assert {p.partition for p in places} == set(range(PARTITIONS))
    await fed(stack, metric, last_of(places))

    async def final() -> bool:
        assert not (await stack.ask(metric, keys[0], "value_at", {"at": 990}))["final"]
        return all([(await stack.ask(metric, key, "value_at", {"at": 989}))["final"] for key in keys])

    await eventually(final)
    late = publish(stack, topic, [(key, event(key, 989, state="on").payload) for key in keys])
    await fed(stack, metric, last_of(late))
    for name in ("these", "those"):
        assert stack.stop(name) == 0
    assert await counts(stack, metric) == dict.fromkeys(keys, 1)
    found = letters(stack, topic, len(late))
    assert {m.properties()["reason"] for m in found} == {"late"}
    places = [Place(int(m.properties()["partition"]), m.properties()["position"]) for m in found]
    assert sorted(places) == sorted(late)


async def test_a_restarted_broker_loses_and_doubles_nothing(stack: Stack, pulsar_broker: Broker) -> None:
    """kill -9 of the broker while two feeders read: they go on by themselves when it is back."""
    topic = "killed-broker"
    pulsar_broker.create_topic(topic, PARTITIONS)
    metric = counting(topic, topic, allowed_lateness="1h")
    await stack.apply(metric)
    sent = messages(random.Random(8), good=9_600, bad=40)
    places = publish(stack, topic, sent[: len(sent) // 2])
    for name in ("left", "right"):
        stack.start(name, "feeder", "--batch", "100", "--wait-ms", "1")

    async def begun() -> bool:
        # A feeder that finds no broker when it starts ends.
        feeding = all('"event": "feeding"' in stack.log(name) for name in ("left", "right"))
        return feeding and sum((await counts(stack, metric)).values()) > 0

    await eventually(begun)
    pulsar_broker.kill()
    await asyncio.to_thread(pulsar_broker.start)

    async def serves() -> bool:
        client = connect_pulsar(pulsar_broker.url)
        try:
            client.create_producer(topic)
        except pulsar.PulsarException:
            return False
        finally:
            client.close()
        return True

    await eventually(serves)
    places += await asyncio.to_thread(publish, stack, topic, sent[len(sent) // 2 :])
    await fed(stack, metric, last_of(places))
    for name in ("left", "right"):
        assert stack.stop(name) == 0
    assert await counts(stack, metric) == dict.fromkeys((f"key-{i}" for i in range(KEYS)), 9_600 // KEYS)
    check_letters(stack, topic, places, sent)


async def test_a_backlog_before_the_first_feeder_is_fed(stack: Stack, pulsar_broker: Broker) -> None:
    """Events that were published when no feeder had ever read the topic, and no metric was applied, count."""
    topic = "backlog"
    pulsar_broker.create_topic(topic, PARTITIONS)
    keys = [f"key-{i % KEYS}" for i in range(48_000)]
    places = publish(
        stack, topic, [(key, event(key, i % 600, state="on").payload) for i, key in enumerate(keys)]
    )
    metric = counting(topic, topic, allowed_lateness="1h")
    await stack.apply(metric)
    stack.start_feeder()
    await fed(stack, metric, last_of(places))
    assert stack.stop("feeder") == 0
    assert await counts(stack, metric) == Counter(keys)
