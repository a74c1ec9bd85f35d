"""Reports of the feeder in its log."""

from __future__ import annotations

from feeder.reporting import Counts, reasons


def test_dead_letters_are_reported_by_reason_and_not_at_all_when_there_are_none() -> None:
    assert reasons([Counts(), Counts()]) == {}
    counts = [Counts(reasons={"late": 2, "bad-time": 5}), Counts(reasons={"late": 4})]
    assert list(reasons(counts)["reasons"].items()) == [("late", 6), ("bad-time", 5)]
