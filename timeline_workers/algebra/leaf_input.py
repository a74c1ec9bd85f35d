"""The input of a leaf from a batch of events: its columns only and, for existence leaves, the matching
events only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from timeline_workers.columns import operations
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.rows import earliest, first_of_runs, gathered, offsets_of, order, row_keys
from timeline_workers.columns.values import UNKNOWN, Bools, Int64, Tagged
from timeline_workers.errors import ExpressionError
from timeline_workers.language.operator_table import is_leaf, name_of
from timeline_workers.language.tree import Changelog, Expression

from .event_log import positions_ascend
from .operators import event_operator
from .predicates import matches

GROUP_EVENTS = 1 << 22
CHANGELOG_COLUMN = "value"
"""The column in which the leaf of a changelog has its messages."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What the feeder has noted of a source partition, for people; no answer depends on it.

    ``accepted``: events applied so far; ``ahead``: those of them whose times lay further beyond their
    publish times than the source's ``clock_skew``, the furthest by ``ahead_by`` microseconds; ``missing``:
    values that did not fit their columns and counted as missing; ``gaps``: how often messages were missing,
    and ``gap``: the last time in words; ``reason``: why the last refused event was refused;
    ``recent_accepted``, ``recent_refused``, ``recent_ahead``: events of the minute before the last message,
    by publish time.
    """

    accepted: int = 0
    ahead: int = 0
    ahead_by: int = 0
    missing: int = 0
    gaps: int = 0
    gap: str = ""
    reason: str = ""
    recent_accepted: int = 0
    recent_refused: int = 0
    recent_ahead: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to this position of a source partition has been sent.

    ``watermark``: microseconds, after it. ``late``, ``refused``: how many events up to there came too late,
    and how many were refused for another reason. ``published``: when the last message was published,
    microseconds; None: not known. ``noted`` takes no part in comparisons, and stays with the leaves.
    """

    partition: int
    major: int
    minor: int
    watermark: int | None
    late: int = 0
    refused: int = 0
    published: int | None = None
    noted: Noted = field(default=Noted(), compare=False)


@dataclass(frozen=True, slots=True)
class LeafBatch:
    """One batch for one leaf.

    ``keys``: keys of the batch, also those without rows here whose origins the leaf does not know; none where
    the leaf is given their numbers; ``origins``: int64, the earliest event time of each in this batch, or any
    instant between that and an origin which the leaf knows; ``key``, ``time``,
    ``position``, ``values``: the leaf's rows, ``key`` indexing ``keys``, values None for existence leaves;
    ``progress``: how far the source has been sent with this batch; ``seen``: columns of the leaf of which the
    source had a value, if they are news.
    """

    keys: list[Key]
    origins: Int64
    key: Int64
    time: Int64
    position: Positions
    values: Tagged | None
    progress: tuple[Progress, ...] = ()
    seen: tuple[str, ...] = ()

    def without(self, dropped: Bools, origins: Int64 | None = None) -> LeafBatch:
        """The batch without the rows where ``dropped``. It still names all keys, with these ``origins``."""
        rows = np.flatnonzero(~dropped)
        return replace(
            self,
            origins=self.origins if origins is None else origins,
            key=self.key[rows],
            time=self.time[rows],
            position=self.position.take(rows),
            values=None if self.values is None else operations.take(self.values, rows),
        )


@dataclass(frozen=True, slots=True)
class KeyBlock:
    """Some whole keys of a batch. ``numbers``: those of the keys in a key table, ascending; ``rows``: their
    events, in the order of (key, time, position), with their ``time`` and ``position``; ``key``: int64, of
    each of ``rows``, its key's place among ``numbers``; ``origins``: the earliest event time of each key.
    """

    numbers: Int64
    rows: Int64
    time: Int64
    position: Positions
    key: Int64
    origins: Int64


def in_groups(batch: EventBatch, numbers: Int64, at_once: int = GROUP_EVENTS) -> Iterator[KeyBlock]:
    """Give ``batch``, the numbers of whose keys in a key table are ``numbers``, in groups of whole keys, of
    about ``at_once`` events. So it is sorted once for all leaves.
    """
    key = batch.key.astype(np.int64)
    if not bool((numbers[1:] > numbers[:-1]).all()):
        by_number = np.argsort(numbers)
        places = np.empty(len(numbers), np.int64)
        places[by_number] = np.arange(len(numbers))
        key, numbers = places[key], numbers[by_number]
    successive = batch.position.ascend_by_one()
    if successive or positions_ascend(batch.position):
        rows = order(key, batch.time)
    else:
        where = batch.position
        rows = np.lexsort((where.minor, where.major, where.partition, batch.time, key))
    offsets = offsets_of(key, len(numbers))
    first = 0
    while first < len(numbers):
        last = min(int(np.searchsorted(offsets, offsets[first] + at_once)), len(numbers))
        last = max(last, first + 1)
        own = offsets[first : last + 1] - offsets[first]
        taken = rows[offsets[first] : offsets[last]]
        origins = np.full(last - first, 2**63 - 1, np.int64)
        known = np.flatnonzero(np.diff(own))
        time = gathered(batch.time, taken)
        origins[known] = time[own[known]]
        position = batch.position.successive(taken) if successive else batch.position.take(taken)
        yield KeyBlock(numbers[first:last], taken, time, position, row_keys(own), origins)
        first = last


def key_origins(batch: EventBatch) -> Int64:
    """The earliest event time in the batch of each of its keys."""
    return earliest(len(batch.keys), batch.key.astype(np.int64), batch.time)


@dataclass(frozen=True, slots=True)
class LeafRouter:
    """Picks the events of one leaf expression (an event operator) out of batches."""

    leaf: Expression

    def project(self, batch: EventBatch) -> tuple[Int64, Tagged | None]:
        """Return the rows of ``batch`` that the leaf needs, ascending, and its value at each (None:
        existence)."""
        wanted, column = self.wanted(batch)
        rows = np.flatnonzero(wanted)
        if column is None or len(rows) == len(batch):
            return rows, column
        return rows, operations.take(column, rows)

    def wanted(self, batch: EventBatch) -> tuple[Bools, Tagged | None]:
        """Return which events of ``batch`` the leaf needs, and the column of its values (None: existence)."""
        name = getattr(self.leaf, "column", None)
        if isinstance(self.leaf, Changelog):
            name = CHANGELOG_COLUMN
        if name is not None:
            column = batch.columns.get(name)
            if column is None:
                return np.zeros(len(batch), np.bool_), operations.unknown_tagged(len(batch))
            return column.tags != UNKNOWN, column
        if is_leaf(self.leaf):
            return matches(self.leaf.children()[0], batch), None
        raise ExpressionError(f"{name_of(self.leaf)} is not a leaf: it takes no events", span=self.leaf.span)

    def batch(
        self, events: EventBatch, progress: tuple[Progress, ...] = (), origins: Int64 | None = None
    ) -> LeafBatch:
        """Return the leaf's batch of all events of ``events``; ``origins``: ``key_origins`` of them, if
        known."""
        rows, values = self.project(events)
        return LeafBatch(
            events.keys,
            key_origins(events) if origins is None else origins,
            events.key[rows].astype(np.int64),
            events.time[rows],
            events.position.take(rows),
            values,
            progress,
        )

    def of_group(self, group: KeyBlock, wanted: Bools, values: Tagged | None) -> LeafBatch:
        """Return the leaf's batch of the events of ``group``, whose keys go by their numbers; ``wanted``,
        ``values``: what the leaf needs of the batch that it is a group of."""
        key, time, position, rows = group.key, group.time, group.position, group.rows
        everything = bool(wanted.all())
        keeps_first = event_operator(self.leaf).keeps_first
        if not everything or keeps_first:
            if everything:
                mine = np.flatnonzero(first_of_runs(key))
            else:
                mine = np.flatnonzero(wanted[rows])
                if keeps_first:
                    mine = mine[first_of_runs(key[mine])]  # nothing but a key's first is held
            key, time, position, rows = key[mine], time[mine], position.take(mine), rows[mine]
        return LeafBatch(
            [],
            group.origins,
            key,
            time,
            position,
            None if values is None else operations.take_mixed(values, rows),
        )
