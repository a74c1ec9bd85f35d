"""Watermarks of source partitions while nothing comes from them."""

from __future__ import annotations

from feeder.positions import SILENT, Offset, Reached
from feeder.routing.idle_partitions import Idle

MINUTE = 60_000_000


def at(entry: int, watermark: int | None) -> Reached:
    return Reached(Offset(1, entry), watermark)


def test_a_partition_is_silent_after_its_timeout() -> None:
    """A partition is silent when it has stood in one place for the timeout."""
    idle = Idle(MINUTE)
    idle.note({0: at(1, 5), 1: at(1, 5)}, now=100.0)
    idle.note({0: at(1, 5), 1: at(2, 9)}, now=130.0)
    assert idle.silent(now=159.9) == set()
    assert idle.silent(now=160.0) == {0}
    assert idle.silent(now=190.0) == {0, 1}


def test_a_silent_partition_follows_the_least_active() -> None:
    """A silent partition follows the least of those that are not."""
    idle = Idle(MINUTE)
    reached = {0: at(1, 5), 1: at(7, 300), 2: at(9, 200), 3: SILENT}
    idle.note(reached, now=0.0)
    assert idle.risen(reached, {0, 3}, now=60.0) == {0: 200, 3: 200}


def test_a_silent_partition_ahead_of_others_stays() -> None:
    """A silent partition that is ahead of the others stays."""
    idle = Idle(MINUTE)
    reached = {0: at(1, 500), 1: at(7, 300)}
    idle.note(reached, now=0.0)
    assert idle.risen(reached, {0}, now=60.0) == {}


def test_nothing_rises_while_a_busy_partition_lacks_events() -> None:
    """While a busy partition has brought no event nothing rises."""
    idle = Idle(MINUTE)
    reached = {0: at(1, 5), 1: at(3, None)}
    idle.note(reached, now=0.0)
    assert idle.risen(reached, {0}, now=60.0) == {}


def test_all_silent_partitions_follow_the_clock() -> None:
    """And one that never had an event follows the least of the others."""
    idle = Idle(MINUTE)
    idle.note({0: at(1, 5), 1: at(1, 1_000), 2: SILENT}, now=0.0)
    reached = {0: at(1, 5), 1: at(2, 2_000), 2: SILENT}
    idle.note(reached, now=10.0)
    assert idle.risen(reached, {0, 1, 2}, now=100.0) == {0: 100_000_005, 1: 90_002_000, 2: 90_002_000}


def test_a_risen_watermark_does_not_go_back() -> None:
    """A watermark that has followed others does not go back to its own clock."""
    idle = Idle(MINUTE)
    idle.note({0: at(1, 5)}, now=0.0)
    assert idle.risen({0: at(1, 400_000_000)}, {0}, now=100.0) == {}
    assert idle.risen({0: at(1, 400_000_000)}, {0}, now=401.0) == {0: 401_000_005}


def test_a_partition_without_events_follows_after_restart() -> None:
    """It had a watermark, which followed others, and has no clock of its own."""
    idle = Idle(MINUTE)
    reached = {0: at(1, 5), 1: Reached(SILENT.offset, 90_000_000)}
    idle.note(reached, now=0.0)
    assert idle.risen(reached, {0, 1}, now=100.0) == {0: 100_000_005, 1: 100_000_005}


def test_nothing_rises_while_no_partition_has_had_an_event() -> None:
    idle = Idle(MINUTE)
    reached = {0: SILENT, 1: SILENT}
    idle.note(reached, now=0.0)
    assert idle.risen(reached, {0, 1}, now=100.0) == {}
