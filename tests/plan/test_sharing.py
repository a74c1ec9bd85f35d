"""Sharing: the workers that two metrics share, and the reason that is given where there are none."""

from __future__ import annotations

from typing import Any

import pytest

from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import Plan, plan
from timeline_workers.plan.sharing import differences, shared, sharing

ON = 'duration_where(latest_event_to_state(status) == "on")'
COLUMNS = {"status": "string", "power": "float"}


def planned(name: str = "other", expression: str = ON, naming: int = 2, **changes: Any) -> Plan:
    metric = {n: changes.pop(n) for n in ("retention", "key_ttl") if n in changes}
    source = {"topic": "chargers", "key": "id", "time": "t", "columns": COLUMNS, **changes}
    return plan(
        Metric.model_validate(
            {"name": name, "source": source, "expression": expression, "naming": naming, **metric}
        )
    )


def test_metrics_that_share_say_what() -> None:
    one, other = planned("one"), planned("other", 'latest_event_to_state(status) == "on"')
    assert shared(one, other) == tuple(node.name for node in other.nodes)
    assert sharing(one, other).startswith("one shares 2 of 3 nodes with other: tl-latest-event-to-state-")
    assert differences(one, other) == []


def test_another_part_of_the_expression_keeps_them_apart() -> None:
    """Another part of the expression is all that keeps them apart."""
    assert sharing(planned("one"), planned("other", "has_existed(power > 1)")) == (
        "one shares nothing with other: they have no part of the expression in common"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"topic": "points"}, "topic is chargers here and points there"),
        ({"key": "charger"}, "key is id here and charger there"),
        ({"partitions": 4}, "partitions is 1 here and 4 there"),
        ({"allowed_lateness": "1s"}, "allowed_lateness is 1h here and 1s there"),
        ({"idle_timeout": "5m"}, "idle_timeout is not set here and 5m there"),
        ({"retention": "7d"}, "retention is not set here and 7d there"),
        ({"naming": 1}, "other has the names of an earlier release until it is applied again"),
        (
            {"columns": {"status": "string"}},
            "'power' must be of type number here and may be anything there, else the event is refused",
        ),
        (
            {"columns": {**COLUMNS, "power": "int"}},
            "'power' must be of type number here and must be of type int there, else the event is refused",
        ),
        (
            {"columns": {**COLUMNS, "status": {"type": "string", "on_bad_value": "missing"}}},
            "'status' must be of type string here and may be anything there, else the event is refused",
        ),
    ],
)
def test_what_keeps_metrics_apart_is_said(changes: dict[str, Any], said: str) -> None:
    one, other = planned("one"), planned("other", **changes)
    assert shared(one, other) == ()
    assert said in differences(one, other)
    assert said in sharing(one, other)


def test_columns_that_are_read_in_different_ways_are_said() -> None:
    """They refuse the same events: a number at the path, declared as float or needed by the expression."""
    declared = planned("one", "latest_event_to_state(power) > 1", columns={"power": "float"})
    bare = planned("other", "latest_event_to_state(power) > 1", columns={})
    assert differences(declared, bare) == ["column 'power' is float at 'power' here and undeclared there"]
