"""Predicates over the columns of one event, evaluated for whole batches.

Any comparison with a missing column is False; ``!`` negates what it follows; arithmetic on a missing column
is missing; a bare column holds where it is present and true.
"""

from __future__ import annotations

import numpy as np

from timeline_workers.columns.event_batch import EventBatch
from timeline_workers.columns.operations import unknown_tagged
from timeline_workers.columns.values import BOOL, Bools, StringTable, Tagged
from timeline_workers.errors import ExpressionError
from timeline_workers.language.tree import And, Arithmetic, Column, Compare, Expression, Literal, Not, Or

from .timeline import numbers


def matches(predicate: Expression, batch: EventBatch) -> Bools:
    """Return, for each event of ``batch``, whether it satisfies ``predicate``."""
    if isinstance(predicate, And):
        return matches(predicate.left, batch) & matches(predicate.right, batch)
    if isinstance(predicate, Or):
        return matches(predicate.left, batch) | matches(predicate.right, batch)
    if isinstance(predicate, Not):
        return ~matches(predicate.of, batch)
    if isinstance(predicate, Compare):
        left, right = _operand(predicate.left, batch), _operand(predicate.right, batch)
        return numbers.compare(predicate.operator, left, right)
    if isinstance(predicate, (Column, Literal)):
        value = _operand(predicate, batch)
        result: Bools = (value.tags == BOOL) & (value.bits == 1)
        return result
    raise ExpressionError(
        f"{predicate.op} is no predicate over the columns of one event", span=predicate.span
    )


def columns_of(expression: Expression) -> frozenset[str]:
    """The columns that ``expression`` reads of an event."""
    if isinstance(expression, Column):
        return frozenset({expression.name})
    read = (getattr(expression, name, None) for name in ("column", "group_by"))
    own: frozenset[str] = frozenset(name for name in read if name is not None)
    return own.union(*(columns_of(child) for child in expression.children()))


def _operand(operand: Expression, batch: EventBatch) -> Tagged:
    if isinstance(operand, Column):
        column = batch.columns.get(operand.name)
        return unknown_tagged(len(batch)) if column is None else column
    if isinstance(operand, Literal):
        return numbers.constant(operand.value, len(batch), StringTable())
    if isinstance(operand, Arithmetic):
        left, right = _operand(operand.left, batch), _operand(operand.right, batch)
        return numbers.arithmetic(operand.operator, left, right)
    flags = matches(operand, batch)
    return Tagged(np.full(len(batch), BOOL, np.uint8), flags.astype(np.int64), StringTable())
