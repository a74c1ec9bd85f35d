"""What a node holds of some of its keys, to be carried away and brought back.

``EventNode``, ``DerivedNode`` and ``FusedNode`` give it by ``copy_out`` (all keys: the carried state of a
worker) and by ``take_out`` (keys that leave), and take it by ``put_back``: a node with the rows put back
answers, and goes on, exactly as if they had never left. ``renumber`` closes the gaps that taken keys leave
behind.
"""

from __future__ import annotations

from dataclasses import dataclass

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Int64, Scalar


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
