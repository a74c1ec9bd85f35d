"""From a canonical expression to the nodes of its graph.

Leaves are the operators that look at events; the predicates inside them are no nodes. Neither are literals: a
comparison with a constant has one input. Equal sub-expressions are one node. Children come before parents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal as Choice, cast

from timeline_workers.algebra.leaf_input import CHANGELOG_COLUMN
from timeline_workers.language import tree as t
from timeline_workers.language.canonical import slug, text_hash, to_text
from timeline_workers.language.check import Checked
from timeline_workers.language.operator_table import is_leaf
from timeline_workers.metric.model import CLOCK_SKEW, Source

from .reading import Judgement


@dataclass(frozen=True, slots=True)
class LogicalNode:
    """A node of the graph. ``inputs``: indices of earlier nodes, by slot; ``columns``: of a leaf, sorted;
    ``uses``: the columns that the whole sub-expression looks at, sorted.
    """

    expression: t.Expression
    kind: Choice["state", "boolean", "numeric"]
    inputs: tuple[int, ...]
    columns: tuple[str, ...]
    uses: tuple[str, ...]


def logical(checked: Checked) -> tuple[LogicalNode, ...]:
    """Return the nodes of a checked canonical expression; the last is its root."""
    nodes: list[LogicalNode] = []
    known: dict[t.Expression, int] = {}

    def visit(expression: t.Expression) -> int:
        found = known.get(expression)
        if found is not None:
            return found
        columns = leaf_columns(expression)
        inputs: tuple[int, ...] = ()
        if columns is None:
            inputs = tuple(visit(operand) for operand in operands(expression))
        uses = set(columns or ()).union(*(nodes[i].uses for i in inputs))
        kind = cast(Choice["state", "boolean", "numeric"], checked.kind_of(expression).name)
        nodes.append(LogicalNode(expression, kind, inputs, columns or (), tuple(sorted(uses))))
        known[expression] = len(nodes) - 1
        return known[expression]

    if isinstance(checked.expression, t.Aggregate):
        # The leaf of the group's column may stand nowhere else in the expression.
        group = t.LatestEventToState(column=checked.expression.group_by)
        of = visit(checked.expression.of)
        leaf = known.get(group)
        if leaf is None:
            nodes.append(LogicalNode(group, "state", (), (group.column,), (group.column,)))
            leaf = len(nodes) - 1
        uses = tuple(sorted({*nodes[of].uses, group.column}))
        nodes.append(LogicalNode(checked.expression, "numeric", (of, leaf), (), uses))
    else:
        visit(checked.expression)
    return tuple(nodes)


def operands(expression: t.Expression) -> tuple[t.Expression, ...]:
    """The operands that are nodes of the graph: all but literals."""
    return tuple(child for child in expression.children() if not isinstance(child, t.Literal))


def leaf_columns(expression: t.Expression) -> tuple[str, ...] | None:
    """The columns, sorted, that a leaf looks at in each event; None if ``expression`` is not a leaf."""
    if not is_leaf(expression):
        return None
    if isinstance(expression, t.Changelog):
        return (CHANGELOG_COLUMN,)
    predicate = leaf_predicate_of(expression)
    # Without a predicate a leaf is of one column.
    read = [getattr(expression, "column")] if predicate is None else _columns(predicate)  # noqa: B009
    return tuple(sorted(set(read)))


def leaf_predicate_of(expression: t.Expression) -> t.Expression | None:
    """The predicate over one event's columns in an existence or counting leaf; None for any other node."""
    return next(iter(expression.children()), None) if is_leaf(expression) else None


def _columns(expression: t.Expression) -> list[str]:
    """The columns that stand directly in ``expression``: not those inside a timeline operator."""
    if isinstance(expression, t.Column):
        return [expression.name]
    if isinstance(expression, t.Compare | t.And | t.Or | t.Not | t.Arithmetic):
        return [name for child in expression.children() for name in _columns(child)]
    return []


def node_name(
    expression: t.Expression,
    source: Source,
    uses: Iterable[str],
    retention: int | None = None,
    key_ttl: int | None = None,
    judgement: Judgement | None = None,
) -> str:
    """Name a node by what its canonical ``expression`` computes, and how long it keeps it.

    The name is a slug, and ten hex digits over the text and the source.
    Of the source, only what can change an answer counts: where events and their key and time come from, how
    they are spread and how late they may be, the columns ``uses``, and what may refuse an event
    (``judgement``; None: that is not looked at, as by the names of releases up to 0.3.0).

    What is not set leaves no trace in the name, so that a setting of a later release renames nothing.
    """
    columns = {}
    for name in sorted(uses):
        spec = source.columns.get(name)
        columns[name] = None if spec is None else [spec.type, spec.path or name]
        if spec is not None and spec.on_bad_value == "missing":
            columns[name] = [spec.type, spec.path or name, "missing"]
    identity = {
        "topic": source.topic,
        "key": source.key,
        "time": source.time,
        "time_unit": source.time_unit,
        "columns": columns,
        "allowed_lateness": source.allowed_lateness,
        "max_ahead": source.max_ahead,
        "partitions": source.partitions,
    }
    kept = {"idle_timeout": source.idle_timeout, "retention": retention, "key_ttl": key_ttl}
    identity |= {name: value for name, value in kept.items() if value is not None}
    if source.clock_skew != CLOCK_SKEW:
        identity["clock_skew"] = source.clock_skew
    if source.aggregate_read is not None:
        identity["changelog"] = source.aggregate_read
    if judgement is not None:
        identity["judged"] = [judgement.accepted, judgement.alike]
    extra = json.dumps(identity, sort_keys=True)
    return f"{slug(expression)}-{text_hash(to_text(expression), extra)[:10]}"
