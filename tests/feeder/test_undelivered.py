"""Messages that a partition holds undelivered: read from the past, or left to another feeder that may have
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from feeder.delivery.fed_group import MetricGroupFeed
from feeder.delivery.leaf_delivery import Leaves, workers_of
from feeder.positions import SILENT, Offset, Reached
from feeder.recovery.backfill import Backfill
from feeder.recovery.continuity import Continuity
from feeder.recovery.gaps import Gaps
from feeder.recovery.takeover import Takeover
from feeder.reporting import Counts
from feeder.routing.silence import Progresses, Silence
from feeder.source.partitioned_source import PartitionedSource
from tests.feeder.test_router import group

Place = Offset | None
HERE, THERE = Offset(1, 5), Offset(1, 9)


class Neighbours:
    """What a takeover asks, with plain answers: the topic's past, the leaves, and who reads the past."""

    def __init__(self, fed: MetricGroupFeed, *, shared: bool) -> None:
        self.shared = shared
        self.fed, self.reached, self.holds = fed, dict[int, Place](), set[int]()
        self.asked: list[str] = []
        self.incomplete: set[str] = set()
        self.complete_said = False
        self.untaken: Mapping[int, Reached | None] = {}

    async def first_after(self, partition: int, after: Place) -> Place:
        return THERE if partition in self.holds else None

    async def progress(self, _: object) -> Mapping[str, Mapping[int, Reached]]:
        at = {p: Reached(SILENT.offset if o is None else o, None) for p, o in self.reached.items()}
        return {worker: at for worker, _ in workers_of(self.fed.group)}

    async def complete(self, _: object) -> None:
        self.complete_said = True

    async def admit(self, _: MetricGroupFeed, progress: Progresses) -> Progresses:
        return progress

    async def taken_up(self, _: int, found: Reached | None, __: Offset | None) -> Reached | None:
        return found

    def forget(self, _: MetricGroupFeed) -> None: ...

    async def those_behind(
        self, _: MetricGroupFeed, __: object, untaken: Mapping[int, Reached | None]
    ) -> bool:
        self.untaken = untaken
        return False

    async def all_of(self, _: MetricGroupFeed) -> None:
        self.asked.append("read all")

    async def wait_for_reader(self, _: MetricGroupFeed) -> None:
        self.asked.append("wait for who reads")


def setting(*, shared: bool = True, seen: Mapping[int, Offset] | None = None) -> tuple[Takeover, Neighbours]:
    fed = MetricGroupFeed(group(), 3)
    by = Neighbours(fed, shared=shared)
    takeover = Takeover(
        cast(PartitionedSource, by),
        cast(Leaves, by),
        cast(Backfill, by),
        cast(Silence, by),
        Gaps(),
        Counts(),
        seen or {},
        cast(Continuity, by),
        begin=None,
        read_from=lambda _: None,
    )
    return takeover, by


async def look(takeover: Takeover, by: Neighbours) -> None:
    if by.fed.undelivered is not None:
        by.fed.undelivered.again = float("-inf")
    await takeover.in_silence(by.fed)


async def test_messages_are_read_where_leaves_stand_still() -> None:
    """What lies where the leaves do not move is read."""
    takeover, by = setting()
    by.reached, by.holds = {0: HERE, 1: None}, {0, 1}
    await look(takeover, by)
    assert (by.asked, by.fed.woken, by.fed.lacks_past) == ([], False, True)
    assert set(by.fed.reached) <= {2}, "the others are not taken up yet"
    assert by.untaken.keys() == {0, 1}, "where all leaves lack something, these are taken up with the others"
    await look(takeover, by)
    assert (by.asked, by.fed.woken, by.fed.undelivered) == (["read all"], True, None)


async def test_messages_are_left_where_leaves_move() -> None:
    """What lies where the leaves move is fed by another."""
    takeover, by = setting()
    by.reached, by.holds = {0: HERE}, {0}
    await look(takeover, by)
    by.reached = {0: THERE}
    await look(takeover, by)
    assert (by.asked, by.fed.woken, by.fed.lacks_past) == (["wait for who reads"], True, False)
    assert by.fed.reached[0].offset == THERE


async def test_it_is_not_looked_again_at_once() -> None:
    takeover, by = setting()
    by.reached, by.holds = {0: HERE}, {0}
    await look(takeover, by)
    pending = by.fed.undelivered
    await takeover.in_silence(by.fed)
    assert by.fed.undelivered is pending is not None


@pytest.mark.parametrize(
    ("shared", "seen"), [(False, None), (True, {1: THERE})], ids=["one feeder alone", "received here"]
)
async def test_what_nobody_else_is_given_is_read_at_once(
    shared: bool, seen: dict[int, Offset] | None
) -> None:
    takeover, by = setting(shared=shared, seen=seen)
    by.reached, by.holds = {0: HERE, 1: HERE}, {0}
    await look(takeover, by)
    assert (by.asked, by.fed.woken, by.fed.undelivered) == (["read all"], True, None)
    assert {p: by.fed.reached[p].offset for p in (0, 1)} == {0: HERE, 1: HERE}, "it is read after these"


async def test_without_messages_the_leaves_places_are_taken_up() -> None:
    """Where nothing is held the leaves places are taken up."""
    takeover, by = setting()
    by.reached = {0: HERE}
    await look(takeover, by)
    assert (by.asked, by.fed.woken, by.fed.lacks_past) == ([], True, False)
    assert by.fed.reached[0].offset == HERE


async def test_leaves_are_complete_when_fed_what_any_had() -> None:
    """What one leaf has had of a partition that is fed here is still to come to the others."""
    takeover, by = setting()
    by.fed.start(0, Reached(HERE, None))
    by.reached = {0: THERE}
    await look(takeover, by)
    assert not by.complete_said
    by.fed.start(0, Reached(THERE, None))
    await takeover.complete(by.fed)
    assert by.complete_said
