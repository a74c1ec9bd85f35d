"""Reports of the feeder in its log."""

from __future__ import annotations

from feeder.reporting import Counts, reasons


def test_dead_letters_are_reported_by_reason() -> None:
    """Dead letters are reported by reason and not at all when there are none."""
    assert reasons([Counts(), Counts()]) == {}
    counts = [Counts(reasons={"late": 2, "bad-time": 5}), Counts(reasons={"late": 4})]
    assert list(reasons(counts)["reasons"].items()) == [("late", 6), ("bad-time", 5)]
