"""Reading a topic's past from any place on, each message once and in order, on each broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pulsar
import pytest

from deploy.pulsar_standalone import Broker
from feeder.positions import Offset
from feeder.source.pulsar_past import Past
from tests.integration.stack import Stack, running_stack
from tests.integration.test_every_event import publish
from timeline_workers.servers.pulsar.pulsar_client import connect

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=[1, 2])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, broker: Broker | None
) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("past"), topic_partitions=request.param, broker=broker
    ) as made:
        yield made


def everything(past: Past, limits: dict[int, Offset] | None = None) -> list[tuple[int, Offset, bytes]]:
    found: list[tuple[int, Offset, bytes]] = []
    while more := past.read(70, limits, wait_ms=600):
        found += [(message.partition, message.place, message.payload) for message in more]
    return found


def stored(
    client: pulsar.Client, stack: Stack, topic: str, partitions: int
) -> list[tuple[int, Offset, bytes]]:
    after: dict[int, Offset | None] = dict.fromkeys(range(partitions))
    with closing(Past(client, stack.addresses.pulsar, topic, after)) as past:
        return everything(past)


def test_any_place_can_be_read_on_from(stack: Stack) -> None:
    """From the beginning, and from the middle of a batch of the broker's, up to a limit and then beyond."""
    topic, count = "past", 400
    publish(stack, topic, [(f"k{i % 9}", b"%d" % i) for i in range(count)])
    client = connect(stack.addresses.pulsar)
    partitions = len(client.get_topic_partitions(topic))
    whole = stored(client, stack, topic, partitions)
    assert sorted(int(data) for _, _, data in whole) == list(range(count))
    for partition in range(partitions):
        mine = [one for one in whole if one[0] == partition]
        assert [place for _, place, _ in mine] == sorted(place for _, place, _ in mine)
        for begin in (0, 1, 57, len(mine) - 1):
            with closing(Past(client, stack.addresses.pulsar, topic, {partition: mine[begin][1]})) as past:
                limit = mine[min(begin + 5, len(mine) - 1)][1]
                assert everything(past, {partition: limit}) == mine[begin + 1 : begin + 6]
                assert past.at_end(partition)
                assert everything(past) == mine[begin + 6 :]
                assert past.at_end(partition)
    client.close()


def test_a_reader_hears_what_is_published_later(stack: Stack) -> None:
    topic = "past-and-present"
    publish(stack, topic, [("k", b"first")])
    client = connect(stack.addresses.pulsar)
    partitions = len(client.get_topic_partitions(topic))
    after: dict[int, Offset | None] = dict.fromkeys(range(partitions))
    with closing(Past(client, stack.addresses.pulsar, topic, after)) as past:
        assert [data for _, _, data in everything(past)] == [b"first"]
        [place] = publish(stack, topic, [("k", b"second")])
        assert [(p, data) for p, _, data in everything(past)] == [(place.partition, b"second")]
    client.close()
