"""The nodes of an expression, connected as workers are but without edges between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.oracle.events import Event
from tests.properties.batches import batch_of
from timeline_workers.algebra.leaf_input import LeafRouter
from timeline_workers.algebra.nodes.node import DerivedNode, EventNode
from timeline_workers.algebra.operators import inputs_of, is_leaf
from timeline_workers.algebra.timeline.revisions import Revision
from timeline_workers.columns import operations
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Int64


class Graph:
    """Every node of an expression with a copy of its inputs and a numbering of keys of its own."""

    def __init__(self, expression: Any) -> None:
        self.nodes: dict[Any, EventNode | DerivedNode] = {}
        self._plan(expression)

    def _plan(self, expression: Any) -> None:
        if expression in self.nodes:
            return
        for child in inputs_of(expression):
            self._plan(child)
        self.nodes[expression] = EventNode(expression) if is_leaf(expression) else DerivedNode(expression)

    def add(self, events: list[Event]) -> None:
        """Give the events to the leaves, and every revision to the nodes above."""
        said: dict[Any, tuple[list[Key], Revision]] = {}
        for expression, node in self.nodes.items():
            if isinstance(node, EventNode):
                news = node.ingest(LeafRouter(expression).batch(batch_of(events)))
            else:
                for slot, child in enumerate(inputs_of(expression)):
                    names, revision = said[child]
                    node.receive(slot, _renumbered(revision, node.keys.intern_all(names)))
                news = node.advance()
            said[expression] = ([node.keys.names[k] for k in news.keys.tolist()], news)


def _renumbered(revision: Revision, numbers: Int64) -> Revision:
    order = np.argsort(numbers)
    suffix = revision.suffix
    rows = np.concatenate([np.arange(suffix.offsets[i], suffix.offsets[i + 1]) for i in order] or [order])
    offsets = np.concatenate([[0], np.cumsum(np.diff(suffix.offsets)[order])]).astype(np.int64)
    values = operations.take(suffix.values, rows)
    return Revision(numbers[order], revision.froms[order], type(suffix)(offsets, suffix.starts[rows], values))
