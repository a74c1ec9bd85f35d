"""The kinds of node: which of them an expression is."""

from __future__ import annotations

from timeline_workers.algebra.operators import is_leaf
from timeline_workers.language.tree import Aggregate, Expression

from .aggregate import AggregateNode
from .fused import FusedNode
from .node import DerivedNode, EventNode
from .protocol import Node


def make_node(expression: Expression, fused: bool = False) -> Node:
    """An empty node, with a key table of its own, that computes ``expression``; ``fused``: with all derived
    nodes below it."""
    if is_leaf(expression):
        return EventNode(expression)
    if isinstance(expression, Aggregate):
        return AggregateNode(expression)
    return FusedNode(expression) if fused else DerivedNode(expression)
