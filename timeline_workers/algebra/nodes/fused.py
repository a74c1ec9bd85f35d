"""All derived nodes of an expression in one: what a worker computes for a metric with ``fuse: true``.

Each node computes as it would alone, from its inputs' timelines and its own just before, but reads its
inputs where they are instead of holding copies: the leaves' timelines are held once, whatever the number of
nodes that read them, and between two nodes there is nothing. Towards the outside this is one node, with the
leaves as inputs and the expression's own timeline as output; every node's timeline is there to be asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.operators import event_operator, inputs_of, is_leaf
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.revisions import Revision, above
from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.columns.rows import FOREVER
from timeline_workers.columns.values import Int64, StringTable
from timeline_workers.errors import StateError
from timeline_workers.language.tree import Expression

from .key_rows import FusedRows, KeyRows, RowsShape
from .node import DerivedNode
from .protocol import News, NodeOfKeys, Part, later_mark, no_output


def derived_of(expression: Expression) -> list[Expression]:
    """The nodes of ``expression`` that are no leaves, children first (post-order), each once."""
    found: dict[Expression, None] = {}

    def visit(node: Expression) -> None:
        if node not in found and not is_leaf(node):
            for child in inputs_of(node):
                visit(child)
            found[node] = None

    visit(expression)
    return list(found)


class FusedNode(NodeOfKeys):
    """The derived nodes of ``expression``, in the order of ``derived_of``: the last is the expression itself.

    ``leaves``: in the order in which ``nodes`` first read them; ``inputs``: a copy of each leaf's timeline,
    by the leaf's place, which is its slot; ``compacted``: as for a node.
    """

    def __init__(self, expression: Expression, keys: KeyTable | None = None) -> None:
        self.expression = expression
        self.keys = KeyTable() if keys is None else keys
        self.nodes: list[DerivedNode] = []
        self.leaves: list[Expression] = []
        self.inputs: list[TimelineStore] = []
        self.before = ""
        self.compacted: int | None = None
        # By place, who reads a leaf or node in which of its slots; and which leaves' slots a node rests on.
        self._of_leaf: list[list[tuple[DerivedNode, int]]] = []
        self._of_node: list[list[tuple[DerivedNode, int]]] = []
        self.rests_on: list[frozenset[int]] = []
        places: dict[Expression, int] = {}
        slots: dict[Expression, int] = {}
        for place, derived in enumerate(derived_of(expression)):
            node = DerivedNode(derived)  # the whole knows the names of keys
            below: set[int] = set()
            for slot, child in enumerate(inputs_of(derived)):
                if child in places:
                    store = self.nodes[places[child]].output
                    self._of_node[places[child]].append((node, slot))
                    below |= self.rests_on[places[child]]
                else:
                    leaf = slots.setdefault(child, len(slots))
                    if leaf == len(self.leaves):
                        self._add_leaf(child)
                    store = self.inputs[leaf]
                    self._of_leaf[leaf].append((node, slot))
                    below.add(leaf)
                node.share(slot, store)
            places[derived] = place
            self.nodes.append(node)
            self._of_node.append([])
            self.rests_on.append(frozenset(below))
        self.lookback = max(node.operator.lookback for node in self.nodes)

    def _add_leaf(self, leaf: Expression) -> None:
        self.leaves.append(leaf)
        self.inputs.append(TimelineStore(pieces.blank(event_operator(leaf).layout, StringTable())))
        self._of_leaf.append([])

    @property
    def output(self) -> TimelineStore:
        """The timeline of the expression itself."""
        return self.nodes[-1].output

    @property
    def answerable_from(self) -> int | None:
        """Below it rows of ``output`` were forgotten; every node has its own such mark."""
        return self.nodes[-1].answerable_from

    @answerable_from.setter
    def answerable_from(self, instant: int | None) -> None:
        self.nodes[-1].answerable_from = instant

    def begin_from(self, slots: Sequence[int], instant: int) -> None:
        """What the leaves in ``slots`` tell begins at ``instant``: so do the nodes that rest on them."""
        for node, below in zip(self.nodes, self.rests_on, strict=True):
            if not below.isdisjoint(slots):
                node.answerable_from = later_mark(node.answerable_from, instant)

    def output_called(self, name: str = "") -> TimelineStore:
        """See ``Node``."""
        if name:
            raise no_output(self.expression, name, ())
        return self.output

    def parts(self) -> Sequence[Part]:
        """See ``Node``."""
        return [
            Part(node.expression, {"": node.output}, node.answerable_from, slots)
            for node, slots in zip(self.nodes, self.rests_on, strict=True)
        ]

    def settle(self) -> News:
        """See ``Node``."""
        return {"": self.advance()}

    def receive(self, slot: int, revision: Revision, floor: int | None = None) -> None:
        """Take a leaf's revision; ``advance`` computes what follows. ``floor``: as for ``DerivedNode``."""
        if not len(revision):
            return
        revision = above(self.inputs[slot], revision, self.compacted, floor)
        self.inputs[slot].replace_suffix(revision.keys, revision.froms, revision.suffix)
        for node, place in self._of_leaf[slot]:
            node.receive(place, revision)

    def advance(self) -> Revision:
        """Compute again what the received revisions touch, in every node; returns what changed in
        ``output``."""
        for node, readers in zip(self.nodes, self._of_node, strict=True):
            news = node.advance()
            for reader, slot in readers:
                reader.receive(slot, news)
        return news

    def compact(self, watermark: int, horizons: Int64 | None) -> None:
        """Forget what no revision from ``watermark`` (microseconds) or later on needs.

        ``horizons``: as for ``EventNode.compact``, of every node; what is still read of a node stays.
        """
        self.compacted = watermark if self.compacted is None else max(self.compacted, watermark)
        for held, readers in zip(self.inputs, self._of_leaf, strict=True):
            held.compact(np.full(held.keys, watermark - _reach(readers), np.int64))
            held.recode(StringTable())
        for node, readers in zip(self.nodes, self._of_node, strict=True):
            needed = watermark - _reach(readers)
            node.compact(watermark, None if horizons is None else np.minimum(horizons, needed))

    def copy_out(self, keys: Int64) -> FusedRows:
        """What is held of ``keys``."""
        self._ensure(keys)
        return FusedRows(
            tuple(held.rows_of(keys) for held in self.inputs),
            tuple(node.output.rows_of(keys) for node in self.nodes),
            tuple(node.stale.peek(keys) for node in self.nodes),
        )

    def copy_all(self) -> FusedRows:
        """See ``Node``."""
        return self.copy_out(self._everyone())

    def put_all(self, rows: FusedRows) -> None:
        """See ``Node``."""
        self._check_rows(rows)
        self.put_back(self._everyone(), rows)

    @property
    def rows_shape(self) -> RowsShape:
        """See ``Node``."""
        return RowsShape("fused", slots=len(self.inputs), nodes=len(self.nodes))

    def put_inner_marks(self, marks: Sequence[int | None]) -> None:
        """See ``Node``."""
        if len(marks) != len(self.nodes) - 1:
            raise StateError(f"{len(marks)} marks of inner nodes for {len(self.nodes) - 1} of them")
        for node, mark in zip(self.nodes[:-1], marks, strict=True):
            if mark is not None:
                node.answerable_from = later_mark(node.answerable_from, mark)

    def counts(self) -> dict[str, int]:
        """See ``Node``."""
        points, inputs = (sum(map(len, held)) for held in ([n.output for n in self.nodes], self.inputs))
        return {"change_points": points, "input_change_points": inputs, "events": 0}

    @property
    def idle_reach(self) -> int:
        """See ``Node``."""
        return self.lookback

    def take_out(self, keys: Int64) -> FusedRows:
        """What was held of ``keys``; they keep their numbers, and are unknown from here on."""
        rows = self.copy_out(keys)
        for held in self._stores():
            held.put_rows(keys, pieces.empty(held.blank, len(keys)))
        for node in self.nodes:
            node.stale.take(node.stale.among(keys))
        return rows

    def put_back(self, keys: Int64, rows: KeyRows) -> None:
        """Hold ``rows`` (of the same nodes) for ``keys``, distinct numbers in the node's table, of which
        nothing is held."""
        assert isinstance(rows, FusedRows)
        for held, timeline in zip(self._stores(), (*rows.inputs, *rows.outputs), strict=True):
            held.put_rows(keys, timeline)
        for node, stale in zip(self.nodes, rows.stale, strict=True):
            waiting = np.flatnonzero(stale != FOREVER)
            node.stale.add(keys[waiting], stale[waiting])

    def renumber(self, keep: Int64) -> None:
        """Key ``keep[i]`` becomes key ``i``; all others are forgotten, names included."""
        self.keys = self.keys.renumbered(keep)
        self._ensure(keep)
        for held in self._stores():
            held.renumber(keep)
        for node in self.nodes:
            node.stale.renumber(keep)

    def last_news(self, keys: Int64) -> Int64:
        """The last instant at which anything is known to happen to each key, in any node; it may lie in the
        future, and is FOREVER for a key that waits for an input to tell of it."""
        self._ensure(keys)
        latest = np.full(len(keys), -FOREVER, np.int64)
        for held in self._stores():
            latest = np.maximum(latest, held.last_starts(keys))
        for node in self.nodes:
            latest = np.where(node.stale.peek(keys) != FOREVER, FOREVER, latest)
        return latest

    def nbytes(self) -> int:
        """The memory that rows take, in bytes; names and strings aside."""
        return sum(held.nbytes() for held in self._stores())

    def _stores(self) -> list[TimelineStore]:
        return [*self.inputs, *(node.output for node in self.nodes)]

    def _ensure(self, keys: Int64) -> None:
        top = int(keys.max()) + 1 if len(keys) else 0
        for held in self._stores():
            held.ensure_keys(top)


def _reach(readers: Sequence[tuple[DerivedNode, int]]) -> int:
    """How far before what changes the readers look."""
    return max((reader.operator.lookback for reader, _ in readers), default=0)
