"""Comparisons: false wherever a side is unknown, exact where a side has a slope."""

from __future__ import annotations

import pytest

from tests.algebra.operators.explicit import says, values

PLAYING = 'duration_where(latest_event_to_state(s) == "play")'


@pytest.mark.parametrize(
    ("sign", "expected"),
    [
        ("==", [(0, False), (5, True), (9, False)]),
        ("!=", [(0, False), (2, True), (5, False), (9, True)]),
        ("<", [(0, False), (2, True), (5, False)]),
        ("<=", [(0, False), (2, True), (9, False)]),
        (">", [(0, False), (9, True)]),
        (">=", [(0, False), (5, True)]),
    ],
)
def test_a_state_with_a_constant(sign: str, expected: list[tuple[float, bool]]) -> None:
    events = [{"t": 0}, *says("n", (2, 1), (5, 2), (9, 2.5))]
    assert values(f"latest_event_to_state(n) {sign} 2", events) == expected


def test_a_line_crosses_where_no_event_is() -> None:
    events = says("s", (0, "play"))
    assert values(f"{PLAYING} >= 7.5", events) == [(0, False), (7.5, True)]
    assert values(f"{PLAYING} > 7.5", events) == [(0, False), (7.500001, True)]
    assert values(f"{PLAYING} == 7.5", events) == [(0, False), (7.5, True), (7.500001, False)]


def test_a_crossing_between_two_instants_shows_at_the_next() -> None:
    assert values(f"3 * {PLAYING} >= 10", says("s", (0, "play"))) == [(0, False), (3.333334, True)]


def test_two_timelines() -> None:
    events = [*says("n", (0, 1), (6, 5)), *says("m", (3, 2), (9, 7))]
    expression = "latest_event_to_state(n) < latest_event_to_state(m)"
    assert values(expression, events) == [(0, False), (3, True), (6, False), (9, True)]
