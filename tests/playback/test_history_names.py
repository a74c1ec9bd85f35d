"""Names of metrics and topics, and what stands for them in a history store."""

from __future__ import annotations

from pathlib import Path

import pytest

from timeline_workers.errors import Code, UnknownNameError
from timeline_workers.history.computed import Computed
from timeline_workers.history.model import definition_of
from timeline_workers.language.parser import parse
from timeline_workers.metric.load import load_metric
from timeline_workers.plan.physical import plan
from timeline_workers.playback.history_names import MetricsByName, recorded_metric

EXAMPLES = Path(__file__).parents[2] / "examples"
CIRR = load_metric(EXAMPLES / "cirr/metric.yaml")
IDLE = load_metric(EXAMPLES / "idle-by-region/metric.yaml")


def test_nodes_have_the_names_of_the_plan() -> None:
    found = recorded_metric(CIRR)
    assert [node.node for node in found.nodes] == [node.name for node in plan(CIRR).nodes]
    assert found.nodes[-1].kind == "numeric"
    assert found.definition == definition_of(Computed(parse(CIRR.expression), CIRR.source).reading)


def test_an_aggregate_has_a_node_for_each_function() -> None:
    found = recorded_metric(IDLE)
    result = plan(IDLE).result.name
    assert [node.node for node in found.nodes[-2:]] == [f"{result}/count", f"{result}/sum"]
    assert [node.name for node in found.nodes[-2:]] == ["count", "sum"]


async def test_events_are_named_by_topic_or_metric() -> None:
    names = MetricsByName([IDLE, CIRR])
    definition = (await names.metric("cirr")).definition
    assert await names.definition("playback-events") == definition
    assert await names.definition("cirr") == definition
    assert await names.definition("machine-events") != definition


async def test_unknown_names_say_the_nearest() -> None:
    names = MetricsByName([IDLE, CIRR])
    with pytest.raises(UnknownNameError, match=r"'cir'.*did you mean 'cirr'") as metric:
        await names.metric("cir")
    assert metric.value.code is Code.UNKNOWN_METRIC
    with pytest.raises(UnknownNameError, match="did you mean 'playback-events'") as topic:
        await names.definition("playback-event")
    assert topic.value.code is Code.UNKNOWN_SOURCE
