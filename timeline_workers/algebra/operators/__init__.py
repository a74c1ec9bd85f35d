"""The operators of the timeline algebra, one a module, and from tree nodes to them.

Every module of this package is imported here, so that its kernels are registered.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from timeline_workers.algebra.predicates import columns_of
from timeline_workers.errors import ExpressionError
from timeline_workers.language import tree
from timeline_workers.language.operator_table import is_exact, is_leaf, name_of

from .kernels import EVENT_KERNELS, TIMELINE_KERNELS
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

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def inputs_of(node: tree.Expression) -> tuple[tree.Expression, ...]:
    """The timelines that ``node`` is computed from, in slot order; constants are not inputs."""
    if is_leaf(node):
        return ()
    if isinstance(node, tree.Aggregate):
        return (node.of, tree.LatestEventToState(column=node.group_by))
    return tuple(child for child in node.children() if not isinstance(child, tree.Literal))


def event_operator(node: tree.Expression) -> EventOperator:
    """Return the operator of a leaf."""
    make = EVENT_KERNELS.get(name_of(node))
    if make is None:
        message = f"{name_of(node)} takes no events ({sorted(columns_of(node))})"
        raise ExpressionError(message, span=node.span)
    return make(node)


def timeline_operator(node: tree.Expression) -> TimelineOperator:
    """Return the operator of a node over timelines."""
    make = TIMELINE_KERNELS.get(name_of(node))
    if make is None:
        raise ExpressionError(f"{name_of(node)} is no operator over timelines", span=node.span)
    return make(node)
