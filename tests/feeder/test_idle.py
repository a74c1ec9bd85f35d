"""Watermarks of source partitions while nothing comes from them."""

from __future__ import annotations

from feeder.positions import SILENT, Offset, Reached
from feeder.routing.idle import Idle

MINUTE = 60_000_000


def at(entry: int, watermark: int | None) -> Reached:
    return Reached(Offset(1, entry), watermark)


def test_a_partition_is_silent_when_it_has_stood_in_one_place_for_the_timeout() -> None:
    idle = Idle(MINUTE)
    idle.note({0: at(1, 5), 1: at(1, 5)}, now=100.0)
    idle.note({0: at(1, 5), 1: at(2, 9)}, now=130.0)
    assert idle.silent(now=159.9) == set()
    assert idle.silent(now=160.0) == {0}
    assert idle.silent(now=190.0) == {0, 1}


def test_a_silent_partition_follows_the_least_of_those_that_are_not() -> None:
    idle = Idle(MINUTE)
    reached = {0: at(1, 5), 1: at(7, 300), 2: at(9, 200), 3: SILENT}
    idle.note(reached, now=0.0)
    assert idle.risen(reached, {0, 3}, now=60.0) == {0: 200, 3: 200}


def test_a_silent_partition_that_is_ahead_of_the_others_stays() -> None:
    idle = Idle(MINUTE)
    reached = {0: at(1, 500), 1: at(7, 300)}
    idle.note(reached, now=0.0)
    assert idle.risen(reached, {0}, now=60.0) == {}


def test_while_a_busy_partition_has_brought_no_event_nothing_rises() -> None:
    idle = Idle(MINUTE)
    reached = {0: at(1, 5), 1: at(3, None)}
    idle.note(reached, now=0.0)
    assert idle.risen(reached, {0}, now=60.0) == {}


def test_when_all_are_silent_each_goes_on_with_the_clock_from_its_last_message() -> None:
    """And one that never had an event follows the least of the others."""
    idle = Idle(MINUTE)
    idle.note({0: at(1, 5), 1: at(1, 1_000), 2: SILENT}, now=0.0)
    reached = {0: at(1, 5), 1: at(2, 2_000), 2: SILENT}
    idle.note(reached, now=10.0)
    assert idle.risen(reached, {0, 1, 2}, now=100.0) == {0: 100_000_005, 1: 90_002_000, 2: 90_002_000}


def test_a_watermark_that_has_followed_others_does_not_go_back_to_its_own_clock() -> None:
    idle = Idle(MINUTE)
    idle.note({0: at(1, 5)}, now=0.0)
    assert idle.risen({0: at(1, 400_000_000)}, {0}, now=100.0) == {}
    assert idle.risen({0: at(1, 400_000_000)}, {0}, now=401.0) == {0: 401_000_005}


def test_a_partition_that_never_had_an_event_follows_also_after_a_restart() -> None:
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
