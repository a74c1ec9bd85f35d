"""aggregate(group_by(column), …): over the keys whose latest value of the column is the group."""

from __future__ import annotations

from typing import Any

import pytest

from timeline_workers import evaluate

EVENTS = [
    {"t": 0, "key": "k", "g": "a", "n": 1},
    {"t": 2, "key": "l", "g": "a", "n": 5},
    {"t": 6, "key": "l", "g": "b"},
    {"t": 9, "key": "m", "n": 4},
]


@pytest.mark.parametrize(
    ("function", "group", "expected"),
    [
        ("count", "a", [(0, 1), (2, 2), (6, 1)]),
        ("sum", "a", [(0, 1), (2, 6), (6, 1)]),
        ("avg", "a", [(0, 1), (2, 3), (6, 1)]),
        ("min", "a", [(0, 1)]),
        ("max", "a", [(0, 1), (2, 5), (6, 1)]),
        ("count", "b", [(6, 1)]),
        ("sum", "b", [(6, 5)]),
        ("max", None, [(9, 4)]),
    ],
)
def test_a_key_moves_with_all_it_contributes(function: str, group: Any, expected: list[Any]) -> None:
    text = f"latest_event_to_state(n) | aggregate(group_by(g), {function})"
    answer = evaluate(text, EVENTS, key="key", time="t").spans(group, 0, 20)
    assert [(span.start, span.value) for span in answer.spans] == expected
