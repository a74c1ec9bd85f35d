"""has_existed: true from the first match on, of events or of a Boolean."""

from __future__ import annotations

from tests.algebra.operators.explicit import says, values

EVENTS = says("s", (0, "a"), (4, "x"), (6, "a"), (9, "x"))


def test_it_is_true_from_the_first_matching_event_on() -> None:
    assert values('has_existed(s == "x")', EVENTS) == [(0, False), (4, True)]


def test_it_is_false_for_ever_where_nothing_matches() -> None:
    assert values('has_existed(s == "y")', EVENTS) == [(0, False)]


def test_an_earlier_event_that_comes_late_moves_it() -> None:
    assert values('has_existed(s == "x")', [*EVENTS, *says("s", (2, "x"))]) == [(0, False), (2, True)]


def test_of_a_boolean_it_is_true_once_that_was() -> None:
    assert values('has_existed(latest_event_to_state(s) == "x")', EVENTS) == [(0, False), (4, True)]
