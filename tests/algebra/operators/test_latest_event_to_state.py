"""latest_event_to_state(column): the value in the last event that has it."""

from __future__ import annotations

from tests.algebra.operators.explicit import says, values


def test_it_is_unknown_before_the_first_value() -> None:
    assert values("latest_event_to_state(s)", [{"t": 2}, *says("s", (5, "a"))]) == [(2, None), (5, "a")]


def test_repeated_and_missing_values_change_nothing() -> None:
    events = says("s", (0, "a"), (3, "a"), (4, None), (6, "b"), (9, "a"))
    assert values("latest_event_to_state(s)", events) == [(0, "a"), (6, "b"), (9, "a")]


def test_of_events_at_one_instant_the_last_counts() -> None:
    assert values("latest_event_to_state(s)", says("s", (0, "a"), (0, "b"), (7, "c"), (7, "b"))) == [(0, "b")]


def test_a_late_event_is_put_in_its_place() -> None:
    events = says("s", (0, "a"), (9, "c"), (4, "b"))
    assert values("latest_event_to_state(s)", events) == [(0, "a"), (4, "b"), (9, "c")]
