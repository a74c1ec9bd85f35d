"""MetricsByName: what the names of metrics and topics stand for in a history store, from their definitions.

Nodes are stored under the names of the plan, those of an aggregate by function; events under the definition
by which they were judged, one for all metrics that refuse the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from timeline_workers.errors import Code, UnknownNameError
from timeline_workers.history.model import definition_of
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.language.suggestions import nearest
from timeline_workers.language.tree import Aggregate
from timeline_workers.metric.model import Metric
from timeline_workers.plan.history_workers import stored_name
from timeline_workers.plan.physical import plan
from timeline_workers.plan.reading import Reading

from .history_recording import RecordedMetric
from .items import NodeOfChannel


def recorded_metric(metric: Metric) -> RecordedMetric:
    """What a store has of a metric. Raises what ``plan`` raises for one that is wrong."""
    declared = {name: spec.type for name, spec in metric.source.columns.items()} or None
    expression = parse(metric.expression)
    reading = Reading.of(metric.source, check(expression, declared, text=metric.expression))
    functions = expression.functions if isinstance(expression, Aggregate) else ("",)
    planned = plan(metric)
    *others, last = planned.nodes
    inner = [
        NodeOfChannel(stored_name(planned, node), node.operator, node.expression, node.kind)
        for node in others
    ]
    results = [
        NodeOfChannel(
            stored_name(planned, last, function), function or last.operator, last.expression, last.kind
        )
        for function in functions
    ]
    return RecordedMetric(metric.source, definition_of(reading), (*inner, *results))


class MetricsByName:
    """The metrics that are applied; ``names`` of ``HistoryRecording``. A topic, or a metric's name, names
    events: those that the first metric (by name) that reads the topic has accepted.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics: Mapping[str, Metric] = {one.name: one for one in sorted(metrics, key=_name)}
        self._recorded: dict[str, RecordedMetric] = {}

    async def metric(self, name: str) -> RecordedMetric:
        """See ``MetricNames``."""
        if name not in self._metrics:
            raise UnknownNameError(_unknown("metric", name, self._metrics), code=Code.UNKNOWN_METRIC)
        if name not in self._recorded:
            self._recorded[name] = recorded_metric(self._metrics[name])
        return self._recorded[name]

    async def definition(self, name: str) -> str:
        """See ``MetricNames``."""
        topics = {one.source.topic: one.name for one in reversed(list(self._metrics.values()))}
        named = topics.get(name, name)
        if named not in self._metrics:
            raise UnknownNameError(
                _unknown("topic", name, [*topics, *self._metrics]), code=Code.UNKNOWN_SOURCE
            )
        return (await self.metric(named)).definition


def _name(metric: Metric) -> str:
    return metric.name


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names) or 'none'}"
    return f"no metric that is applied has the {what} {name!r}; {hint}"
