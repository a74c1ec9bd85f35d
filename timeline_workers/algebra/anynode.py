"""The three kinds of node: which of them an expression is, and all that one holds."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from ..language.tree import Aggregate, Expression
from .aggregate import AggregateNode
from .keyrows import AggregateRows, KeyRows
from .nodes import DerivedNode, EventNode
from .operators import is_leaf

AnyNode: TypeAlias = EventNode | DerivedNode | AggregateNode


def make_node(expression: Expression) -> AnyNode:
    """An empty node, with a key table of its own, that computes ``expression``."""
    if is_leaf(expression):
        return EventNode(expression)
    if isinstance(expression, Aggregate):
        return AggregateNode(expression)
    return DerivedNode(expression)


def everything(node: AnyNode) -> KeyRows | AggregateRows:
    """All that ``node`` holds of its keys."""
    if isinstance(node, AggregateNode):
        return node.copy_out()
    return node.copy_out(np.arange(len(node.keys), dtype=np.int64))
