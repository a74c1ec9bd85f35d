"""In-process evaluation: the whole graph of one expression over one set of keys, fed with batches of
events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from timeline_workers.algebra.nodes.aggregate import AggregateNode
from timeline_workers.algebra.nodes.any_node import leaf_node
from timeline_workers.algebra.nodes.node import DerivedNode, EventNode
from timeline_workers.algebra.timeline.revisions import Revision
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.columns.values import Bools, Scalar, Tagged
from timeline_workers.language.tree import Aggregate, Expression

from .leaf_input import KeyBlock, LeafRouter, in_groups
from .operators import inputs_of, is_leaf


@dataclass(frozen=True, slots=True)
class _Leaf:
    node: EventNode
    router: LeafRouter


@dataclass(frozen=True, slots=True)
class _Derived:
    """``inputs``: the places of its inputs among the steps of the evaluation."""

    node: DerivedNode
    inputs: list[int]


class Evaluation:
    """Timelines of every node of ``expression``, kept right under each added batch, whatever its order.

    Adding events in any cuts and any order, with any repetitions of a position, gives the same timelines.
    """

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        self.keys = KeyTable()
        self._nodes: dict[Expression, EventNode | DerivedNode] = {}
        # Children first. The places of inputs are found once: looking an expression up hashes all of it.
        self._steps: list[_Leaf | _Derived] = []
        self._aggregate: AggregateNode | None = None
        self._aggregated: list[int] = []
        for child in inputs_of(expression) if isinstance(expression, Aggregate) else (expression,):
            self._plan(child)
        if isinstance(expression, Aggregate):
            self._aggregate = AggregateNode(expression, self.keys)
            self._aggregated = self._places(expression)

    def _plan(self, expression: Expression) -> None:
        if expression in self._nodes:
            return
        for child in inputs_of(expression):
            self._plan(child)
        if is_leaf(expression):
            leaf = self._nodes[expression] = leaf_node(expression, self.keys)
            self._steps.append(_Leaf(leaf, LeafRouter(expression)))
        else:
            node = DerivedNode(expression, self.keys)
            for slot, child in enumerate(inputs_of(expression)):
                node.share(slot, self._nodes[child].output)
            self._steps.append(_Derived(node, self._places(expression)))
            self._nodes[expression] = node

    def _places(self, expression: Expression) -> list[int]:
        """The places of the inputs of ``expression`` among the steps."""
        planned = list(self._nodes)
        return [planned.index(child) for child in inputs_of(expression)]

    @classmethod
    def of_nothing(cls, expression: Expression, before: str = "") -> Evaluation:
        """One key, whose origin is the instant 0, and no events at all; ``expression`` is no aggregate. A
        changelog that it reads is ``before`` then (see ``Node``).
        """
        evaluation = cls(expression)
        for step in evaluation._steps:
            step.node.before = before
        none = np.zeros(0, np.int64)
        place = Positions(none.astype(np.int32), none, none)
        numbers = evaluation.keys.intern_all([""])
        batch = EventBatch([], none.astype(np.int32), none, place, {})
        needs = [step.router.wanted(batch) if isinstance(step, _Leaf) else None for step in evaluation._steps]
        evaluation._add(KeyBlock(numbers, none, none, place, none, np.zeros(1, np.int64)), needs)
        return evaluation

    def add(self, batch: EventBatch) -> list[Revision]:
        """Take in a batch of events; returns what became of the expression's timeline, in order (nothing of
        an aggregate)."""
        needs = [step.router.wanted(batch) if isinstance(step, _Leaf) else None for step in self._steps]
        groups = in_groups(batch, self.keys.intern_all(batch.keys))
        found = [self._add(group, needs) for group in groups]
        if self._aggregate is None:
            return found
        self._aggregate.advance()
        return []

    def _add(self, group: KeyBlock, needs: Sequence[tuple[Bools, Tagged | None] | None]) -> Revision:
        revisions: list[Revision] = []
        for step, needed in zip(self._steps, needs, strict=True):
            if isinstance(step, _Leaf):
                assert needed is not None
                revisions.append(step.node.ingest(step.router.of_group(group, *needed), group.numbers))
                continue
            for slot, place in enumerate(step.inputs):
                step.node.receive(slot, revisions[place])
            revisions.append(step.node.advance())
        if self._aggregate is not None:
            for slot, place in enumerate(self._aggregated):
                self._aggregate.receive(slot, revisions[place])
        return revisions[-1]

    def timeline(self, node: Expression | None = None) -> Timeline:
        """The timeline of ``node`` (default: the whole expression) over ``keys``.

        Raises KeyError for an expression that is no node of this one.
        """
        return self._nodes[self.expression if node is None else node].output.timeline()

    @property
    def before(self) -> str:
        """What the changelog that is read, if one is, says that it is without any event; see ``Node``."""
        return next((step.node.before for step in self._steps if step.node.before), "")

    @property
    def groups(self) -> list[Scalar | None]:
        """The groups of an aggregate, in no order; None is the null group."""
        return [] if self._aggregate is None else self._aggregate.groups

    def aggregate(self, function: str) -> Timeline:
        """The timeline of one aggregate function over ``groups``.

        Raises KeyError for a function the expression does not ask for.
        """
        if self._aggregate is None:
            raise KeyError(f"{self.expression.op} is not an aggregate")
        return self._aggregate.output(function)
