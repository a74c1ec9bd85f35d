"""Whose answers others can change, among metrics that have the names of earlier releases."""

from __future__ import annotations

from typing import Any

import pytest

from timeline_workers.metric.model import Metric
from workflows.client.conditions.neighbours import neighbours

ON = 'latest_event_to_state(status) == "on"'


def metric(name: str, columns: dict[str, Any], naming: int = 1, **fields: Any) -> Metric:
    source = {"topic": "chargers", "key": "id", "time": "t", "columns": columns}
    expression = {"expression": ON, **fields}
    return Metric.model_validate({"name": name, "source": source, "naming": naming, **expression})


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (metric("b", {"status": "string", "power": "float"}), ["b"]),
        (metric("b", {"status": "string"}), []),
        (metric("b", {"status": "string", "power": "float"}, naming=2), []),
        (metric("b", {"status": "string", "power": "float"}, expression="has_existed(power > 1)"), []),
        (metric("b", {"status": "string"}, expression="duration_were("), []),
    ],
)
def test_a_neighbour_shares_a_leaf_and_refuses_others(other: Metric, found: list[str]) -> None:
    """A neighbour is who shares a leaf and refuses other events."""
    one = metric("a", {"status": "string"})
    assert neighbours(one, [one, other]) == found
    again = one.model_copy(update={"naming": 2})
    assert neighbours(again, [again, other]) == []


def test_without_declarations_the_rest_of_the_expression_makes_neighbours() -> None:
    one = metric("a", {})
    other = metric("b", {}, expression=f"{ON} && !has_existed(power > 1000)")
    assert neighbours(one, [one, other]) == ["b"]
    assert neighbours(other, [one, other]) == ["a"]
