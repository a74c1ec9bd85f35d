"""Retention: of what several metrics share as long as one of them wants, below the watermark."""

from __future__ import annotations

from timeline_workers.history.forgetting_due import Due, due, scope_of
from timeline_workers.history.model import DefinitionStatus, NodeStatus, Scope, Status
from timeline_workers.metric.model import History, Metric, Source

DAY = 86_400_000_000


def metric(name: str, days: int | None, expression: str = "has_existed(x == 1)") -> Metric:
    history = None if days is None else History.model_validate({"retention": f"{days}d"})
    return Metric(
        name=name, source=Source(topic="t", key="k", time="t"), expression=expression, history=history
    )


def status(scope: Scope, watermark: int | None, kept_from: int | None = None) -> Status:
    definitions = [DefinitionStatus(n, "t", {}, 0, 0, watermark, kept_from) for n in scope.definitions]
    nodes = [NodeStatus(name, 1, watermark, kept_from) for name in scope.nodes]
    return Status("model", 1, {}, definitions, nodes, 0, 0, None, [])


def test_the_longest_retention_of_a_definition_counts() -> None:
    metrics = [metric("a", 7), metric("b", 30)]
    scope = scope_of(metrics[0])
    assert scope == scope_of(metrics[1])
    assert due(metrics, status(scope, 40 * DAY)) == [
        Due(10 * DAY, Scope(definitions=list(scope.definitions))),
        Due(10 * DAY, Scope(nodes=list(scope.nodes))),
    ]
    assert due([*metrics, metric("c", None)], status(scope, 40 * DAY)) == []


def test_nothing_is_due_without_a_watermark_or_twice() -> None:
    found = metric("a", 7)
    assert due([found], status(scope_of(found), None)) == []
    assert due([found], status(scope_of(found), 40 * DAY, 33 * DAY)) == []
    assert due([], status(scope_of(found), 40 * DAY)) == []
