"""The kinds of node: which of them an expression is, and all that one holds."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from timeline_workers.algebra.operators import is_leaf
from timeline_workers.language.tree import Aggregate, Expression

from .aggregate import AggregateNode
from .fused import FusedNode
from .key_rows import AggregateRows, KeyRows
from .node import DerivedNode, EventNode

AnyNode: TypeAlias = EventNode | DerivedNode | FusedNode | AggregateNode


def make_node(expression: Expression, fused: bool = False) -> AnyNode:
    """An empty node, with a key table of its own, that computes ``expression``; ``fused``: with all derived
    nodes below it."""
    if is_leaf(expression):
        return EventNode(expression)
    if isinstance(expression, Aggregate):
        return AggregateNode(expression)
    return FusedNode(expression) if fused else DerivedNode(expression)


def everything(node: AnyNode) -> KeyRows | AggregateRows:
    """All that ``node`` holds of its keys."""
    if isinstance(node, AggregateNode):
        return node.copy_out()
    return node.copy_out(np.arange(len(node.keys), dtype=np.int64))
