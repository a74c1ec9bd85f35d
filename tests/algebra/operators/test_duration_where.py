"""duration_where(x): how long x has been true since the origin."""

from __future__ import annotations

from tests.algebra.operators.explicit import says, spans

PLAYING = 'duration_where(latest_event_to_state(s) == "play")'


def test_it_grows_while_x_is_true() -> None:
    events = says("s", (1, "stop"), (3, "play"), (8, "stop"), (10, "play"))
    assert spans(PLAYING, events) == [(1, 0, 0), (3, 0, 1), (8, 5, 0), (10, 5, 1)]


def test_a_late_event_takes_away_what_was_counted() -> None:
    events = says("s", (0, "play"), (10, "stop"), (4, "stop"))
    assert spans(PLAYING, events) == [(0, 0, 1), (4, 4, 0)]
