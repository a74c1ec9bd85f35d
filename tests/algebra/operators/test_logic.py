"""&&, || and !: pointwise on Booleans."""

from __future__ import annotations

import pytest

from tests.algebra.operators.explicit import says, values

EVENTS = [*says("a", (0, False), (2, True), (8, False)), *says("b", (0, False), (5, True), (11, False))]
A, B = "latest_event_to_state(a) == true", "latest_event_to_state(b) == true"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (f"{A} && {B}", [(0, False), (5, True), (8, False)]),
        (f"{A} || {B}", [(0, False), (2, True), (11, False)]),
        (f"!({A})", [(0, True), (2, False), (8, True)]),
        (f"!({A} || {B})", [(0, True), (2, False), (11, True)]),
        (f"{A} && !({B})", [(0, False), (2, True), (5, False)]),
    ],
)
def test_it_holds_where_its_operands_say(expression: str, expected: list[tuple[float, bool]]) -> None:
    assert values(expression, EVENTS) == expected
    assert values(expression, EVENTS[::-1]) == expected
