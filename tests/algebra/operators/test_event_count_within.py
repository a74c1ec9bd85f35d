"""event_count_within(p, d): how many events match in (t-d, t]."""

from __future__ import annotations

from tests.algebra.operators.explicit import says, values


def test_a_match_counts_for_a_window() -> None:
    events = says("s", (0, "a"), (4, "x"), (6, "x"))
    assert values('event_count_within(s == "x", 5s)', events) == [(0, 0), (4, 1), (6, 2), (9, 1), (11, 0)]


def test_one_that_leaves_as_another_comes_changes_nothing() -> None:
    assert values('event_count_within(s == "x", 5s)', says("s", (0, "x"), (5, "x"))) == [(0, 1), (10, 0)]


def test_a_late_match_counts_in_its_own_window() -> None:
    events = says("s", (0, "a"), (20, "x"), (10, "x"))
    expected = [(0, 0), (10, 1), (15, 0), (20, 1), (25, 0)]
    assert values('event_count_within(s == "x", 5s)', events) == expected
