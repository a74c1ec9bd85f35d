"""The node protocol, which every kind of node implements: the seam between the algebra and a worker.

A node has one timeline or several, its *outputs*, by name: "" where there is one only, a function's name for
each of an aggregate's. Their rows belong to keys, which are the node's numbers: of the keys of the source, or
of groups for an aggregate. Whoever runs a node takes in events or revisions, lets it settle, passes on what
has changed, and may copy rows out and put them back; nothing of that asks which kind of node it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from timeline_workers.algebra.leaf_input import LeafBatch
from timeline_workers.algebra.timeline.revisions import Revision
from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.columns.key_table import Key, KeyTable
from timeline_workers.columns.values import Int64, Scalar
from timeline_workers.errors import QuestionError, StateError
from timeline_workers.language.tree import Expression

from .key_rows import AggregateRows, KeyRows, RowsShape

News: TypeAlias = Mapping[str, Revision]
"""What has changed, by output."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the nodes that a node computes, as it is asked about. ``slots``: the inputs that it rests on."""

    expression: Expression
    outputs: Mapping[str, TimelineStore]
    answerable_from: int | None
    slots: frozenset[int]

    def output(self, function: object = None) -> tuple[str, TimelineStore]:
        """The output called ``function`` with its name; None: the only one. A part with one output has no
        names to ask by. Raises QuestionError for a name that is none, or where one is missing."""
        if "" in self.outputs:
            return "", self.outputs[""]
        names = list(self.outputs)
        chosen = names[0] if function is None and len(names) == 1 else function
        if not isinstance(chosen, str) or chosen not in self.outputs:
            raise QuestionError(f"aggregate {chosen!r} is not one of {', '.join(names)}; say which")
        return chosen, self.outputs[chosen]


class Node(Protocol):
    """A node's state. ``keys``: its keys, by number; ``compacted``: nothing
    new of an instant below it is taken, None before the first ``compact``; ``too_late``: events that came
    although their instant had been compacted; ``answerable_from``: below it rows
    of an output were forgotten, None while there are all; ``before``: where it rests on a changelog, what
    that is without any event, as text (``published_values``), "" where it is not known.
    """

    keys: KeyTable
    before: str
    compacted: int | None
    too_late: int

    @property
    def answerable_from(self) -> int | None:
        """See above."""
        ...

    @answerable_from.setter
    def answerable_from(self, instant: int | None) -> None: ...

    # What comes in.

    def take_events(self, batch: LeafBatch) -> News:
        """Take a batch of events. Raises StateError, and takes nothing, unless this node looks at events and
        the batch holds what it looks at."""
        ...

    def receive(self, slot: int, revision: Revision, floor: int | None = None) -> None:
        """Take a revision of input ``slot``, of which nothing below ``floor`` is new; ``settle`` computes
        what follows."""
        ...

    def begin_from(self, slots: Sequence[int], instant: int) -> None:
        """What the inputs ``slots`` tell begins at ``instant``: nothing is answerable before."""
        ...

    def settle(self) -> News:
        """Compute what follows from all that was received."""
        ...

    # What goes out.

    @property
    def key_names(self) -> Sequence[Key]:
        """The names, by number, under which whoever is told of the outputs knows their keys."""
        ...

    @property
    def known(self) -> tuple[Sequence[Scalar | None] | KeyTable, Int64 | None]:
        """The keys (an aggregate's groups) that can be asked about, and their numbers (None: places)."""
        ...

    def output_called(self, name: str = "") -> TimelineStore:
        """The output called ``name``; "": the only one. Raises StateError where there is no such output."""
        ...

    def parts(self) -> Sequence[Part]:
        """The nodes that this node computes, children first; the last is the node itself."""
        ...

    # What is held.

    def compact(self, watermark: int, horizons: Int64 | None) -> None:
        """Forget what no input from ``watermark`` (microseconds) or later on needs, and of the outputs what
        lies below ``horizons`` (by key, at most the watermark; None and keys beyond its end: nothing)."""
        ...

    @property
    def idle_reach(self) -> int | None:
        """How long after the last news of a key it is still read, in microseconds; None: keys never leave."""
        ...

    def last_news(self, keys: Int64) -> Int64:
        """The last instant at which anything is known to happen to each key; FOREVER: it must stay."""
        ...

    def copy_out(self, keys: Int64) -> KeyRows:
        """What is held of ``keys``."""
        ...

    def put_back(self, keys: Int64, rows: KeyRows) -> None:
        """Hold ``rows`` for ``keys``, distinct numbers in ``keys``, of which nothing is held."""
        ...

    def renumber(self, keep: Int64) -> None:
        """Key ``keep[i]`` becomes key ``i``; all others are forgotten, names included."""
        ...

    def copy_all(self) -> KeyRows | AggregateRows:
        """All that is held."""
        ...

    def put_all(self, rows: Any) -> None:
        """Hold ``rows`` (from ``copy_all`` of such a node), in a node that holds names of keys only. Raises
        StateError when they are of another number of keys."""
        ...

    @property
    def rows_shape(self) -> RowsShape:
        """What the rows of ``copy_all`` consist of."""
        ...

    def put_inner_marks(self, marks: Sequence[int | None]) -> None:
        """All ``parts`` but the last are answerable from ``marks``, or from later on if they were."""
        ...

    def nbytes(self) -> int:
        """The memory that rows take, in bytes; names and strings aside."""
        ...

    def counts(self) -> dict[str, int]:
        """How much is held: ``change_points``, ``input_change_points`` and ``events``."""
        ...


class NodeOfKeys:
    """What leaves, derived and fused nodes have in common: one output, for the keys of the source."""

    expression: Expression
    keys: KeyTable
    compacted: int | None
    too_late = 0

    def take_events(self, batch: LeafBatch) -> News:
        """Refuse: only a leaf takes events."""
        raise takes_no_events(self.expression)

    @property
    def key_names(self) -> Sequence[Key]:
        """See ``Node``."""
        return self.keys.names

    @property
    def known(self) -> tuple[KeyTable, None]:
        """See ``Node``."""
        return self.keys, None

    def put_inner_marks(self, marks: Sequence[int | None]) -> None:
        """There are no inner parts: ``marks`` must be none."""
        if marks:
            raise StateError(f"{len(marks)} marks of inner nodes for a node that has none")

    def _everyone(self) -> Int64:
        return np.arange(len(self.keys), dtype=np.int64)

    def _check_rows(self, rows: KeyRows) -> None:
        if rows.keys != len(self.keys):
            raise StateError(f"carried state names {len(self.keys)} keys and holds rows of {rows.keys}")


def takes_no_events(expression: Expression) -> StateError:
    """The error for events sent to the node of ``expression``, which is no leaf."""
    return StateError(f"{expression.op} is no leaf: it takes revisions, not events")


def no_output(expression: Expression, name: str, names: Sequence[str]) -> StateError:
    """The error for an output called ``name`` that the node of ``expression`` does not have."""
    if not names:
        return StateError(f"{expression.op} has one output, without a name: there is no {name!r}")
    return StateError(f"{expression.op} has no output {name!r}; it has {', '.join(names)}: say which")


def later_mark(held: int | None, instant: int) -> int:
    """The later of two marks below which something is missing; None: nothing was missing."""
    return instant if held is None else max(held, instant)
