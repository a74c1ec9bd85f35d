"""duration_in_cur_state(x): the time since the last change of x."""

from __future__ import annotations

from tests.algebra.operators.explicit import says, spans

SINCE = "duration_in_cur_state(latest_event_to_state(s))"


def test_every_change_begins_it_anew() -> None:
    events = says("s", (0, "a"), (3, "a"), (5, "b"))
    assert spans(SINCE, events) == [(0, 0, 1), (5, 0, 1)]


def test_it_is_unknown_while_x_is() -> None:
    assert spans(SINCE, [{"t": 0}, *says("s", (4, "a"))]) == [(0, None, 0), (4, 0, 1)]


def test_a_late_event_begins_it_earlier() -> None:
    assert spans(SINCE, says("s", (0, "a"), (9, "b"), (6, "b"))) == [(0, 0, 1), (6, 0, 1)]
