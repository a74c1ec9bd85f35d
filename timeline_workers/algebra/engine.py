"""In-process evaluation: the whole graph of one expression over one set of keys, fed with batches of
events."""

from __future__ import annotations

from collections.abc import Mapping

from ..events.batch import EventBatch
from ..language.tree import Aggregate, Expression
from .aggregate import AggregateNode
from .leaves import Group, LeafRouter, in_groups
from .nodes import DerivedNode, EventNode
from .operators import inputs_of, is_leaf
from .timelines import KeyTable, Timeline
from .values import Bools, Scalar, Tagged


class Evaluation:
    """Timelines of every node of ``expression``, kept right under each added batch, whatever its order.

    Adding events in any cuts and any order, with any repetitions of a position, gives the same timelines.
    """

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        self.keys = KeyTable()
        self._nodes: dict[Expression, EventNode | DerivedNode] = {}
        self._order: list[Expression] = []
        self._routers: dict[Expression, LeafRouter] = {}
        self._aggregate: AggregateNode | None = None
        for child in inputs_of(expression) if isinstance(expression, Aggregate) else (expression,):
            self._plan(child)
        if isinstance(expression, Aggregate):
            self._aggregate = AggregateNode(expression, self.keys)

    def _plan(self, expression: Expression) -> None:
        if expression in self._nodes:
            return
        for child in inputs_of(expression):
            self._plan(child)
        if is_leaf(expression):
            self._nodes[expression] = EventNode(expression, self.keys)
            self._routers[expression] = LeafRouter(expression)
        else:
            node = self._nodes[expression] = DerivedNode(expression, self.keys)
            for slot, child in enumerate(inputs_of(expression)):
                node.share(slot, self._nodes[child].output)
        self._order.append(expression)

    def add(self, batch: EventBatch) -> None:
        """Take in a batch of events."""
        needs = {leaf: router.wanted(batch) for leaf, router in self._routers.items()}
        for group in in_groups(batch, self.keys.intern_all(batch.keys)):
            self._add(group, needs)
        if self._aggregate is not None:
            self._aggregate.advance()

    def _add(self, group: Group, needs: Mapping[Expression, tuple[Bools, Tagged | None]]) -> None:
        revisions = {}
        for expression in self._order:
            node = self._nodes[expression]
            if isinstance(node, EventNode):
                leaf = self._routers[expression].of_group(group, *needs[expression])
                revisions[expression] = node.ingest(leaf, group.numbers)
                continue
            for slot, child in enumerate(inputs_of(expression)):
                node.receive(slot, revisions[child])
            revisions[expression] = node.advance()
        if self._aggregate is not None:
            for slot, child in enumerate(inputs_of(self.expression)):
                self._aggregate.receive(slot, revisions[child])

    def timeline(self, node: Expression | None = None) -> Timeline:
        """The timeline of ``node`` (default: the whole expression) over ``keys``.

        Raises KeyError for an expression that is no node of this one.
        """
        return self._nodes[self.expression if node is None else node].output.timeline()

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
