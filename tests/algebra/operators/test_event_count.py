"""event_count(p): how many events so far match."""

from __future__ import annotations

from tests.algebra.operators.explicit import says, values


def test_every_match_counts_also_at_the_origin() -> None:
    events = says("s", (0, "x"), (4, "x"), (6, "a"), (9, "x"))
    assert values('event_count(s == "x")', events) == [(0, 1), (4, 2), (9, 3)]


def test_two_events_at_one_instant_are_two() -> None:
    assert values('event_count(s == "x")', says("s", (0, "a"), (5, "x"), (5, "x"))) == [(0, 0), (5, 2)]


def test_a_late_event_raises_all_later_counts() -> None:
    assert values('event_count(s == "x")', says("s", (0, "a"), (8, "x"), (3, "x"))) == [
        (0, 0),
        (3, 1),
        (8, 2),
    ]
