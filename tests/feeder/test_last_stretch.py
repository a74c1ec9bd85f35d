"""The last of a backfill, for which the feeding waits, while the store that it reads from goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from feeder.positions import Offset
from feeder.recovery.replay import Replay
from feeder.routing.router import MetricGroup, Routed, Router, groups_of
from feeder.source.memory import MemoryReader
from feeder.source.partitioned_source import SourceMessage
from feeder.storing.stored_past import StoredReader
from tests.feeder import virtual_time
from tests.feeder.test_feeders import PLAYING, metric
from timeline_workers.history.model import Position, RawEvent

SECONDS = 15.0


class Store:
    """Nine events of one partition, ``fed`` of which were fed; a reader waits while it is away."""

    def __init__(self) -> None:
        self.fed = 5
        self.there = asyncio.Event()
        self.there.set()

    async def read(self, partition: int, after: Offset | None, limit: int) -> Sequence[RawEvent]:
        await self.there.wait()
        first = 0 if after is None else after.minor + 1
        text = [json.dumps({"id": "a", "t": n, "state": "on", "size": n}).encode() for n in range(9)]
        return [RawEvent(Position(partition, 0, n), text[n], 1) for n in range(first, min(9, first + limit))]


def test_feeding_waits_for_no_store_that_goes_away() -> None:
    """It is told so after a while; when the store is back, the backfill goes on from there, and ends."""

    async def play() -> tuple[float, list[int]]:
        loop, store, taken = asyncio.get_running_loop(), Store(), []
        (group,) = groups_of([metric("playing", PLAYING)])["events"]

        async def take(own: MetricGroup, routed: Routed, batch: Sequence[SourceMessage]) -> None:
            taken.extend(message.place.minor for message in batch)

        async def at_once(work, *given):  # type: ignore[no-untyped-def]
            return work(*given)

        held = MemoryReader(lambda partition, after: [], {0: None})
        replay = Replay(
            group,
            Router(group, 1, judges_only=True),
            StoredReader(held, store.read, {0: None}, {0: None}),
            whole=False,
            limits=lambda: {0: Offset(0, store.fed - 1)},
            take=take,
            run=at_once,
            at_once=2,
            begin=None,
            letters=None,
        )
        while not replay.near:
            await asyncio.sleep(1)
        store.fed = 9
        store.there.clear()
        began = loop.time()
        assert not await replay.finish(SECONDS)
        waited = loop.time() - began
        assert taken == list(range(5))
        store.there.set()
        while not replay.near:
            await asyncio.sleep(1)
        assert await replay.finish(SECONDS)
        return waited, taken

    assert virtual_time.run(play()) == (SECONDS, list(range(9)))
