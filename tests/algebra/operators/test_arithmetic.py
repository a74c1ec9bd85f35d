"""+, -, * and /: pointwise on numbers, with slope where a side has one."""

from __future__ import annotations

import pytest

from tests.algebra.operators.explicit import says, spans, values

EVENTS = [{"t": 0}, *says("n", (2, 6), (8, 0)), *says("m", (5, 4))]
N, M = "latest_event_to_state(n)", "latest_event_to_state(m)"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (f"{N} + {M}", [(0, None), (5, 10), (8, 4)]),
        (f"{N} - {M}", [(0, None), (5, 2), (8, -4)]),
        (f"{N} * {M}", [(0, None), (5, 24), (8, 0)]),
        (f"{N} / {M}", [(0, None), (5, 1.5), (8, 0)]),
        (f"{M} / {N}", [(0, None), (5, 4 / 6), (8, None)]),
        (f"1 - {N}", [(0, None), (2, -5), (8, 1)]),
    ],
)
def test_of_states_it_is_unknown_where_a_side_is(
    expression: str, expected: list[tuple[float, float]]
) -> None:
    assert values(expression, EVENTS) == expected


def test_of_a_duration_it_has_a_slope() -> None:
    waiting = "duration_in_cur_state(latest_event_to_state(n))"
    found = spans(f"2 * {waiting} + 1", EVENTS)
    assert found == [(0, None, 0), (2, 1, 2), (8, 1, 2)]
    assert spans(f"{waiting} / {N}", EVENTS)[-1] == (8, None, 0)


def test_ints_that_leave_64_bits_become_floats() -> None:
    assert values(f"{N} + {N}", says("n", (0, 2**62), (1, 2**61))) == [(0, 2.0**63), (1, 2**62)]
