"""The events a leaf holds, in columns, sorted by (key, time, position); a position is held once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timeline_workers.columns import operations
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.row_store import Array, RowStore
from timeline_workers.columns.rows import FOREVER, offsets_of, offsets_of_runs, order, row_keys, search_runs
from timeline_workers.columns.values import Bools, Int64, StringTable, Tagged


@dataclass(frozen=True, slots=True)
class EventLog:
    """``offsets``: int64[K+1]; ``times``: int64[N], microseconds; ``positions``: N; ``values``: N, or None
    for leaves that only ask whether a matching event existed.
    """

    offsets: Int64
    times: Int64
    positions: Positions
    values: Tagged | None

    @property
    def keys(self) -> int:
        """Number of keys."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return len(self.times)


def sorted_log(keys: int, key: Int64, times: Int64, positions: Positions, values: Tagged | None) -> EventLog:
    """Build a log from events in any order, dropping repeated positions."""
    same_key = key[1:] == key[:-1]
    if bool(((key[1:] > key[:-1]) | (same_key & (times[1:] > times[:-1]))).all()):  # no two at one instant
        return EventLog(offsets_of_runs(key, same_key, keys), times, positions, values)
    if not positions_ascend(positions):
        rows = np.lexsort((positions.minor, positions.major, positions.partition))
        key, times, positions = key[rows], times[rows], positions.take(rows)
        values = None if values is None else operations.take(values, rows)
    rows = order(key, times)
    key, times, positions = key[rows], times[rows], positions.take(rows)
    values = None if values is None else operations.take(values, rows)
    repeated = (
        (key[1:] == key[:-1])
        & (times[1:] == times[:-1])
        & (positions.partition[1:] == positions.partition[:-1])
        & (positions.major[1:] == positions.major[:-1])
        & (positions.minor[1:] == positions.minor[:-1])
    )
    if repeated.any():
        stay = np.flatnonzero(np.append(True, ~repeated))
        key, times, positions = key[stay], times[stay], positions.take(stay)
        values = None if values is None else operations.take(values, stay)
    return EventLog(offsets_of(key, keys), times, positions, values)


def no_events(like: EventLog, keys: int) -> EventLog:
    """Nothing of ``keys`` keys, in the layout of another log."""
    none = np.zeros(0, np.int64)
    values = None if like.values is None else operations.empty_like(like.values)
    return EventLog(np.zeros(keys + 1, np.int64), none, like.positions.take(none), values)


def positions_ascend(positions: Positions) -> bool:
    """Whether no position lies before the one before it."""
    p, a, b = positions.partition, positions.major, positions.minor
    same_partition = p[1:] == p[:-1]
    same_major = same_partition & (a[1:] == a[:-1])
    up: Bools = (p[1:] > p[:-1]) | (same_partition & (a[1:] > a[:-1])) | (same_major & (b[1:] >= b[:-1]))
    return bool(up.all())


class LogStore:
    """A log that grows in place. ``values``: an empty column that gives the layout, or None."""

    def __init__(self, values: Tagged | None) -> None:
        none = np.zeros(0, np.int64)
        extra: list[Array] = [] if values is None else [values.tags[:0], values.bits[:0]]
        self.strings = None if values is None else values.strings
        self._rows = RowStore(none, np.zeros(0, np.int32), none, none, *extra)

    def __len__(self) -> int:
        return self._rows.live

    def ensure_keys(self, keys: int) -> None:
        """Hold at least ``keys`` keys; new ones have no events."""
        self._rows.ensure_keys(keys)

    def since(self, keys: Int64, times: Int64) -> EventLog:
        """The events of each of ``keys`` at or after ``times``, renumbered ``0..M-1``."""
        return self._log(*self._rows.rows_from(keys, self._before(keys, times)))

    def add(self, keys: Int64, froms: Int64, new: EventLog) -> EventLog:
        """Add ``new``, over the ascending ``keys``, none earlier than its ``froms``. Returns all events from
        there on, as ``since`` does."""
        if not len(keys):
            return new
        self._rows.ensure_keys(int(keys.max()) + 1)
        keep = self._before(keys, froms)
        tail = self._log(*self._rows.rows_from(keys, keep))
        if len(tail):
            values = None
            if tail.values is not None and new.values is not None:
                values = operations.join(tail.values, new.values)
            new = sorted_log(
                len(keys),
                np.concatenate([row_keys(tail.offsets), row_keys(new.offsets)]),
                np.concatenate([tail.times, new.times]),
                _join_positions(tail.positions, new.positions),
                values,
            )
        self._rows.replace(keys, keep, new.offsets, self._columns(new))
        return new

    def log(self, keys: int) -> EventLog:
        """Everything, of ``keys`` keys."""
        self._rows.ensure_keys(keys)
        everyone = np.arange(keys, dtype=np.int64)
        return self._log(*self._rows.rows_from(everyone, np.zeros(keys, np.int64)))

    def replace(self, keys: Int64, new: EventLog) -> None:
        """Hold ``new`` for the distinct ``keys``, in place of all that was held of them."""
        if not len(keys):
            return
        self._rows.ensure_keys(int(keys.max()) + 1)
        self._rows.replace(keys, np.zeros(len(keys), np.int64), new.offsets, self._columns(new))

    def compact(self, before: int) -> None:
        """Forget the events before the instant ``before``; memory that is not used is given back."""
        everyone = np.arange(self._rows.keys, dtype=np.int64)
        self._rows.drop_first(everyone, self._before(everyone, np.full(len(everyone), before, np.int64)))

    def rows_of(self, keys: Int64) -> EventLog:
        """All events of ``keys``, renumbered ``0..M-1``."""
        return self._log(*self._rows.rows_from(keys, np.zeros(len(keys), np.int64)))

    def last_times(self, keys: Int64) -> Int64:
        """The time of each key's last event; -FOREVER where none is held."""
        if not self._rows.live:
            return np.full(len(keys), -FOREVER, np.int64)
        rows = np.maximum(self._rows.high[keys] - 1, 0)
        return np.where(self._rows.count[keys] > 0, self._rows.column(0)[rows], -FOREVER)

    def renumber(self, keep: Int64) -> None:
        """Key ``keep[i]`` becomes key ``i``; all others are forgotten."""
        self._rows.renumber(keep)

    def recode(self, strings: StringTable) -> None:
        """Hold strings by their codes in ``strings``, so that a table of strings no longer held can go."""
        everyone = np.arange(self._rows.keys, dtype=np.int64)
        held = self.rows_of(everyone)
        if held.values is not None:
            self.strings = strings  # `held` names its own table, so `replace` codes it in the new one
            self.replace(everyone, held)

    def nbytes(self) -> int:
        """The memory held, in bytes, strings aside."""
        return self._rows.nbytes()

    def _columns(self, log: EventLog) -> list[Array]:
        where = log.positions
        found: list[Array] = [log.times, where.partition, where.major, where.minor]
        if self.strings is not None and log.values is not None:
            values = operations.in_table(log.values, self.strings)
            found += [values.tags, values.bits]
        return found

    def _before(self, keys: Int64, times: Int64) -> Int64:
        if not self._rows.live:
            return np.zeros(len(keys), np.int64)
        return search_runs(self._rows.low[keys], self._rows.count[keys], self._rows.column(0), times - 1)

    def _log(self, offsets: Int64, rows: Int64 | slice) -> EventLog:
        column = self._rows.column
        positions = Positions(column(1)[rows], column(2)[rows], column(3)[rows])
        values = None
        if self.strings is not None:
            values = Tagged(column(4)[rows], column(5)[rows], self.strings)
        return EventLog(offsets, column(0)[rows], positions, values)


def _join_positions(a: Positions, b: Positions) -> Positions:
    return Positions(
        np.concatenate([a.partition, b.partition]),
        np.concatenate([a.major, b.major]),
        np.concatenate([a.minor, b.minor]),
    )
