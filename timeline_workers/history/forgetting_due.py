"""Retention: what of a history is to be forgotten by now, from the metrics that are applied. No I/O.

A definition's events, and a node's pieces, may be of several metrics: they are kept for as long as one of
these wants, and for good where one sets no ``history.retention``. What is due is measured from watermarks,
below which nothing is told any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric
from timeline_workers.plan.history_workers import history_workers
from timeline_workers.plan.physical import plan
from timeline_workers.plan.reading import Reading

from .model import Scope, Status, definition_of


@dataclass(frozen=True, slots=True)
class Due:
    """``scope`` is to be forgotten below event time ``before``."""

    before: int
    scope: Scope


def scope_of(metric: Metric) -> Scope:
    """What is stored for a metric: by its source definition, and of the nodes whose revisions it sends.

    Raises what ``plan`` raises for a metric that is wrong.
    """
    declared = {name: spec.type for name, spec in metric.source.columns.items()} or None
    checked = check(parse(metric.expression), declared, text=metric.expression)
    definition = definition_of(Reading.of(metric.source, checked))
    nodes = dict.fromkeys(spec.node for spec in history_workers(plan(metric)))
    return Scope((definition,), tuple(nodes))


def retentions(metrics: Iterable[Metric]) -> tuple[dict[str, int | None], dict[str, int | None]]:
    """How long definitions, and nodes, of these metrics are kept, microseconds; None: for good."""
    definitions: dict[str, int | None] = {}
    nodes: dict[str, int | None] = {}
    for metric in metrics:
        scope = scope_of(metric)
        kept = None if metric.history is None else metric.history.retention
        for names, of in ((scope.definitions, definitions), (scope.nodes, nodes)):
            for name in names:
                other = of.get(name, 0)
                of[name] = None if kept is None or other is None else max(kept, other)
    return definitions, nodes


def due(metrics: Iterable[Metric], status: Status) -> list[Due]:
    """What is to be forgotten of a store in this state. Of a definition or node whose watermark is not known,
    and of one that no metric has, nothing is.
    """
    definitions, nodes = retentions(metrics)
    marks = {one.definition: one.watermark for one in status.definitions}
    kept = {one.definition: one.kept_from for one in status.definitions}
    found = [Due(at, Scope(definitions=[name])) for name, at in _bounds(definitions, marks, kept)]
    marks = {one.node: one.watermark for one in status.nodes}
    kept = {one.node: one.kept_from for one in status.nodes}
    return found + [Due(at, Scope(nodes=[name])) for name, at in _bounds(nodes, marks, kept)]


def _bounds(
    retention: Mapping[str, int | None], marks: Mapping[str, int | None], kept: Mapping[str, int | None]
) -> list[tuple[str, int]]:
    found = []
    for name, least in retention.items():
        mark, before = marks.get(name), kept.get(name)
        if least is not None and mark is not None and (before is None or mark - least > before):
            found.append((name, mark - least))
    return found
