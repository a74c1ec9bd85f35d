"""Rows of some keys of a node, to be carried away and brought back.

``EventNode``, ``DerivedNode`` and ``FusedNode`` give it by ``copy_out`` (all keys: the carried state of a
worker) and by ``take_out`` (keys that leave), and take it by ``put_back``: a node with the rows put back
answers, and goes on, exactly as if they had never left. ``renumber`` closes the gaps that taken keys leave
behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as Choice

import numpy as np

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.rows import FOREVER, ranges
from timeline_workers.columns.values import Int64, Scalar


@dataclass(frozen=True, slots=True)
class RowsShape:
    """What the rows of a node consist of: their ``kind``, how many input ``slots``, how many ``nodes`` (of
    fused rows), which ``functions`` (of an aggregate's)."""

    kind: Choice["leaf", "derived", "fused", "aggregate"]
    slots: int = 0
    nodes: int = 1
    functions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeafRows:
    """Of M keys of a leaf, numbered ``0..M-1`` here.

    ``origins``: int64[M], FOREVER for a key the leaf has not heard of; ``seen``: int64[M], an instant at or
    after which the key had its last event, as far as the leaf has heard; ``log``: the events still needed;
    ``output``: the leaf's timeline, from where it is still answerable.
    """

    origins: Int64
    seen: Int64
    log: EventLog
    output: Timeline

    @property
    def keys(self) -> int:
        """Number of keys."""
        return len(self.origins)

    @property
    def inner(self) -> tuple[Timeline, ...]:
        """Timelines of nodes inside the node: there are none."""
        return ()

    def of(self, numbers: Int64) -> LeafRows:
        """Those of the keys ``numbers``."""
        log, output = _events_of(self.log, numbers), _timeline_of(self.output, numbers)
        return LeafRows(self.origins[numbers], self.seen[numbers], log, output)


@dataclass(frozen=True, slots=True)
class DerivedRows:
    """Of M keys of a derived node, numbered ``0..M-1`` here.

    ``inputs``: a copy of each input's timeline, by slot, from where it is still needed (None: the slot has
    not been heard of at all); ``output``: the node's own timeline, from where it is still answerable;
    ``stale``: int64[M], from where a key is to be computed again once all inputs have told of it, FOREVER
    for a key that waits for nothing. A key that waits must not leave.
    """

    inputs: tuple[Timeline | None, ...]
    output: Timeline
    stale: Int64

    @property
    def keys(self) -> int:
        """Number of keys."""
        return len(self.stale)

    @property
    def inner(self) -> tuple[Timeline, ...]:
        """Timelines of nodes inside the node: there are none."""
        return ()

    def of(self, numbers: Int64) -> DerivedRows:
        """Those of the keys ``numbers``."""
        inputs = tuple(None if held is None else _timeline_of(held, numbers) for held in self.inputs)
        return DerivedRows(inputs, _timeline_of(self.output, numbers), self.stale[numbers])


@dataclass(frozen=True, slots=True)
class FusedRows:
    """Of M keys of fused nodes, numbered ``0..M-1`` here.

    ``inputs``: a copy of each leaf's timeline, by slot, from where it is still needed; ``outputs``: by node,
    its own timeline, from where it is still answerable or needed; ``stale``: by node, as in ``DerivedRows``.
    """

    inputs: tuple[Timeline, ...]
    outputs: tuple[Timeline, ...]
    stale: tuple[Int64, ...]

    @property
    def output(self) -> Timeline:
        """The timeline of the last node, which the others lead to."""
        return self.outputs[-1]

    @property
    def keys(self) -> int:
        """Number of keys."""
        return self.output.keys

    @property
    def inner(self) -> tuple[Timeline, ...]:
        """The timelines of all nodes but the last."""
        return self.outputs[:-1]

    def of(self, numbers: Int64) -> FusedRows:
        """Those of the keys ``numbers``."""
        return FusedRows(
            tuple(_timeline_of(held, numbers) for held in self.inputs),
            tuple(_timeline_of(held, numbers) for held in self.outputs),
            tuple(stale[numbers] for stale in self.stale),
        )


@dataclass(frozen=True, slots=True)
class AggregateRows:
    """All that an aggregate holds.

    ``inputs``: by slot, as in ``DerivedRows``, of all keys; ``outputs``: by function, the timelines of all
    groups; ``groups``: their values in order, None for the null group; ``since``: from where the groups are
    to be computed again once both inputs have told something, FOREVER for not at all.
    """

    inputs: tuple[Timeline | None, ...]
    outputs: dict[str, Timeline]
    groups: tuple[Scalar | None, ...]
    since: int


KeyRows = LeafRows | DerivedRows | FusedRows


def _timeline_of(timeline: Timeline, numbers: Int64) -> Timeline:
    return pieces.covering(timeline, numbers, np.full(len(numbers), -FOREVER, np.int64))


def _events_of(log: EventLog, numbers: Int64) -> EventLog:
    lengths = np.diff(log.offsets)[numbers]
    rows = ranges(log.offsets[:-1][numbers], lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = None if log.values is None else operations.take(log.values, rows)
    return EventLog(offsets, log.times[rows], log.positions.take(rows), values)
