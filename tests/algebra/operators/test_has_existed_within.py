"""has_existed_within: true on [e, e+d) for a match at e, on [a, b+d) for a true span [a, b)."""

from __future__ import annotations

from tests.algebra.operators.explicit import says, values


def test_each_match_opens_a_window() -> None:
    events = says("s", (0, "a"), (4, "x"), (20, "x"))
    assert values('has_existed_within(s == "x", 5s)', events) == [
        (0, False),
        (4, True),
        (9, False),
        (20, True),
        (25, False),
    ]


def test_windows_that_overlap_or_touch_are_one() -> None:
    events = says("s", (0, "x"), (3, "x"), (8, "x"))
    assert values('has_existed_within(s == "x", 5s)', events) == [(0, True), (13, False)]


def test_a_late_match_joins_two_windows() -> None:
    events = says("s", (0, "x"), (10, "x"), (5, "x"))
    assert values('has_existed_within(s == "x", 5s)', events) == [(0, True), (15, False)]


def test_a_true_span_lasts_a_window_longer() -> None:
    events = says("s", (0, "a"), (4, "x"), (7, "a"))
    expression = 'has_existed_within(latest_event_to_state(s) == "x", 3s)'
    assert values(expression, events) == [(0, False), (4, True), (10, False)]
