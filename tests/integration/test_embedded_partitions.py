"""Topics of several partitions on the embedded broker, which knows no Reader of one of them: none is left out
of what is fed, and `timeline get` sees what waits in each.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from feeder.positions import SILENT, Offset
from feeder.source.connect_pulsar import connect_source
from feeder.source.partitioned_source import PartitionedSource
from feeder.source.pulsar_past import Past
from tests.integration.stack import Stack, event, eventually, running_stack
from timeline_workers.cli.overview_command import overview
from timeline_workers.client import TimelineClient
from timeline_workers.metric.model import Metric, Source
from timeline_workers.servers.pulsar.pulsar_client import connect

pytestmark = pytest.mark.integration

ON = Metric(
    name="on",
    source=Source.model_validate(
        {"topic": "parts", "key": "id", "time": "t", "columns": {"state": "string"}}
    ),
    expression='duration_where(latest_event_to_state(state) == "on")',
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("partitions"), topic_partitions=2) as made:
        yield made


async def received(source: PartitionedSource, many: int) -> list[bytes]:
    """The next messages, at least so many, and what comes directly after them."""
    found: list[bytes] = []
    wanted = threading.Event()
    wanted.set()

    async def more() -> bool:
        batch = await source.receive(wanted)
        found.extend(message.payload for message in batch)
        return len(found) >= many and not batch

    await eventually(more)
    return found


async def test_every_batch_is_received_from_the_first(stack: Stack) -> None:
    """A Reader's acknowledgement of a partition's first entry has the broker hang up on it, and be silent
    after that.
    """
    topic, url = "from-the-first", stack.addresses.pulsar
    source = await asyncio.to_thread(connect_source, url, topic, "any")
    try:
        await source.open({0: None, 1: None}, None, 100)
        for number in range(4):
            sent = [event("a", number, n=n) for n in range(3)]
            await asyncio.to_thread(stack.send, topic, sent)
            assert await received(source, 3) == [one.payload for one in sent]
    finally:
        await source.close()


def test_an_empty_partition_ends_while_others_flow(stack: Stack) -> None:
    """Whoever has come to where all partitions were knows it at once, also of one that had nothing."""
    topic, url = "one-key", stack.addresses.pulsar
    stored = stack.send(topic, [event("a", n) for n in range(5)])
    [(partition, last)] = stored.last.items()
    limits = {partition: Offset(*last), 1 - partition: SILENT.offset}
    client = connect(url)
    with closing(client), closing(Past(client, url, topic, dict.fromkeys(limits))) as past:
        found: list[Any] = []
        while len(found) < 5:
            found += past.read(5 - len(found), limits, wait_ms=600)
        assert past.at_end(partition)
        assert past.at_end(1 - partition)


async def test_get_sees_a_feeder_that_stands_still(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, with an event in one partition, while another has never had any; and all is well after it."""
    monkeypatch.setenv("TIMELINE_PULSAR_URL", stack.addresses.pulsar)
    client = TimelineClient(await stack.temporal())

    async def seen(fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        row: dict[str, Any] = {}

        async def look() -> bool:
            rows, _ = await overview(client, [ON.name])
            row.update(rows[0])
            return fits(row)

        await eventually(look)
        return row

    stack.start_worker()
    await stack.apply(ON)
    stack.start_feeder()
    await stack.applied(ON, stack.send("parts", [event("a", n, state="on") for n in range(3)]))
    await seen(lambda row: row["state"] == "ok" and row["lag"] == 0)
    stack.processes["feeder"].send_signal(signal.SIGSTOP)
    # Of these keys some are in each partition.
    waiting = stack.send("parts", [event(key, 9, state="on") for key in "abcdefgh"])
    assert len(waiting.last) == 2
    row = await seen(lambda row: row["state"] != "ok")
    assert row["state"] == "lagging"
    assert "an event of topic parts has waited" in row["cause"]
    stack.processes["feeder"].send_signal(signal.SIGCONT)
    await stack.applied(ON, waiting)
    await seen(lambda row: row["state"] == "ok" and row["lag"] == 0)
