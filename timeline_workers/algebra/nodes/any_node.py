"""The kinds of node: which of them an expression is."""

from __future__ import annotations

from timeline_workers.algebra.operators import is_leaf
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.language.tree import Aggregate, Changelog, Expression

from .aggregate import AggregateNode
from .changelog_node import ChangelogNode
from .fused import FusedNode
from .node import DerivedNode, EventNode
from .protocol import Node


def leaf_node(expression: Expression, keys: KeyTable | None = None) -> EventNode:
    """An empty leaf that computes ``expression``, in the key table ``keys`` (default: one of its own)."""
    return (ChangelogNode if isinstance(expression, Changelog) else EventNode)(expression, keys)


def make_node(expression: Expression, fused: bool = False) -> Node:
    """An empty node, with a key table of its own, that computes ``expression``; ``fused``: with all derived
    nodes below it."""
    if is_leaf(expression):
        return leaf_node(expression)
    if isinstance(expression, Aggregate):
        return AggregateNode(expression)
    return FusedNode(expression) if fused else DerivedNode(expression)
