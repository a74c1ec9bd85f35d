"""The operators of the timeline algebra, one a module, and the table from tree nodes to them."""

from __future__ import annotations

from timeline_workers.algebra.predicates import columns_of
from timeline_workers.errors import ExpressionError
from timeline_workers.language import tree

from .arithmetic import Arithmetic
from .compare import Compare
from .duration_in_cur_state import DurationInCurState
from .duration_where import DurationWhere
from .event_count import EventCount
from .event_count_within import EventCountWithin
from .has_existed import EventHasExisted, HasExisted
from .has_existed_within import EventHasExistedWithin, HasExistedWithin
from .latest_event_to_state import LatestEventToState
from .logic import And, Not, Or
from .operands import Constant
from .recompute import EventOperator, RecomputeRequest, TimelineOperator

__all__ = [
    "EventOperator",
    "RecomputeRequest",
    "TimelineOperator",
    "event_operator",
    "inputs_of",
    "is_exact",
    "is_leaf",
    "timeline_operator",
]


def is_leaf(node: tree.Expression) -> bool:
    """Whether ``node`` takes events rather than timelines."""
    if isinstance(node, (tree.LatestEventToState, tree.EventCount, tree.EventCountWithin)):
        return True
    return isinstance(node, (tree.HasExisted, tree.HasExistedWithin)) and _is_predicate(node.of)


def _is_predicate(node: tree.Expression) -> bool:
    if isinstance(node, (tree.Column, tree.Literal)):
        return True
    return isinstance(node, (tree.Compare, tree.And, tree.Or, tree.Not, tree.Arithmetic)) and all(
        _is_predicate(child) for child in node.children()
    )


def inputs_of(node: tree.Expression) -> tuple[tree.Expression, ...]:
    """The timelines that ``node`` is computed from, in slot order; constants are not inputs."""
    if is_leaf(node):
        return ()
    if isinstance(node, tree.Aggregate):
        return (node.of, tree.LatestEventToState(column=node.group_by))
    return tuple(child for child in node.children() if not isinstance(child, tree.Literal))


def is_exact(node: tree.Expression) -> bool:
    """Whether ``node`` is a Numeric made from durations, held as exact lines."""
    if isinstance(node, (tree.DurationWhere, tree.DurationInCurState)):
        return True
    return isinstance(node, tree.Arithmetic) and (is_exact(node.left) or is_exact(node.right))


def event_operator(node: tree.Expression) -> EventOperator:
    """Return the operator of a leaf."""
    if isinstance(node, tree.LatestEventToState):
        return LatestEventToState()
    if isinstance(node, tree.HasExisted):
        return EventHasExisted()
    if isinstance(node, tree.HasExistedWithin):
        return EventHasExistedWithin(node.within)
    if isinstance(node, tree.EventCount):
        return EventCount()
    if isinstance(node, tree.EventCountWithin):
        return EventCountWithin(node.within)
    raise ExpressionError(f"{node.op} takes no events ({sorted(columns_of(node))})", span=node.span)


def timeline_operator(node: tree.Expression) -> TimelineOperator:
    """Return the operator of a node over timelines."""
    if isinstance(node, tree.HasExisted):
        return HasExisted()
    if isinstance(node, tree.HasExistedWithin):
        return HasExistedWithin(node.within)
    if isinstance(node, tree.And):
        return And()
    if isinstance(node, tree.Or):
        return Or()
    if isinstance(node, tree.Not):
        return Not()
    if isinstance(node, tree.DurationWhere):
        return DurationWhere()
    if isinstance(node, tree.DurationInCurState):
        return DurationInCurState()
    if isinstance(node, tree.Compare):
        return Compare(node.operator, _constant(node.left), _constant(node.right))
    if isinstance(node, tree.Arithmetic):
        return Arithmetic(node.operator, is_exact(node), _constant(node.left), _constant(node.right))
    raise ExpressionError(f"{node.op} is no operator over timelines", span=node.span)


def _constant(node: tree.Expression) -> Constant | None:
    return Constant(node.value) if isinstance(node, tree.Literal) else None
