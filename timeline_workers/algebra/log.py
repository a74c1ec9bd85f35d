"""The events a leaf holds, in columns, sorted by (key, time, position); a position is held once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..events.batch import Positions
from . import columns
from .rows import offsets_of, order, ranges, row_keys, search, splice
from .values import Bools, Int64, Tagged


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

    def padded(self, count: int) -> EventLog:
        """The same log over at least ``count`` keys; the added ones have no events."""
        if self.keys >= count:
            return self
        tail = np.full(count - self.keys, self.offsets[-1], np.int64)
        return EventLog(np.append(self.offsets, tail), self.times, self.positions, self.values)

    def since(self, keys: Int64, times: Int64) -> EventLog:
        """The events of each of ``keys`` at or after ``times``, renumbered ``0..M-1``."""
        skip = search(self.offsets, self.times, keys, times - 1)
        low = self.offsets[keys] + skip
        lengths = self.offsets[keys + 1] - low
        rows = ranges(low, lengths)
        offsets = np.zeros(len(keys) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return self._pick(offsets, rows)

    def _pick(self, offsets: Int64, rows: Int64) -> EventLog:
        values = None if self.values is None else columns.take(self.values, rows)
        return EventLog(offsets, self.times[rows], self.positions.take(rows), values)


def empty_log(values: Tagged | None, keys: int = 0) -> EventLog:
    """A log without events; ``values`` gives the layout."""
    none = np.zeros(0, np.int64)
    return EventLog(
        np.zeros(keys + 1, np.int64),
        none,
        Positions(np.zeros(0, np.int32), none, none),
        None if values is None else columns.empty_like(values),
    )


def sorted_log(keys: int, key: Int64, times: Int64, positions: Positions, values: Tagged | None) -> EventLog:
    """Build a log from events in any order, dropping repeated positions."""
    if not _ascending(positions):
        rows = np.lexsort((positions.minor, positions.major, positions.partition))
        key, times, positions = key[rows], times[rows], positions.take(rows)
        values = None if values is None else columns.take(values, rows)
    rows = order(key, times)
    key, times, positions = key[rows], times[rows], positions.take(rows)
    values = None if values is None else columns.take(values, rows)
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
        values = None if values is None else columns.take(values, stay)
    return EventLog(offsets_of(key, keys), times, positions, values)


def _ascending(positions: Positions) -> bool:
    p, a, b = positions.partition, positions.major, positions.minor
    same_partition = p[1:] == p[:-1]
    same_major = same_partition & (a[1:] == a[:-1])
    up: Bools = (p[1:] > p[:-1]) | (same_partition & (a[1:] > a[:-1])) | (same_major & (b[1:] >= b[:-1]))
    return bool(up.all())


def merge(log: EventLog, count: int, keys: Int64, froms: Int64, new: EventLog) -> EventLog:
    """Add ``new`` (over the ascending ``keys``, none earlier than its ``froms``) to ``log``, now of
    ``count`` keys."""
    if len(log) == 0 and len(keys) == count:
        return new
    log = log.padded(count)
    base = log.offsets
    tail = log.since(keys, froms)
    if len(tail):
        values = None
        if tail.values is not None and new.values is not None:
            values = columns.join(tail.values, new.values)
        new = sorted_log(
            len(keys),
            np.concatenate([row_keys(tail.offsets), row_keys(new.offsets)]),
            np.concatenate([tail.times, new.times]),
            _join_positions(tail.positions, new.positions),
            values,
        )
    keep = np.diff(base)[keys] - np.diff(tail.offsets)
    offsets, picked = splice(base, count, keys, keep, new.offsets)
    values = None
    if log.values is not None and new.values is not None:
        values = columns.take(columns.join(log.values, new.values), picked)
    return EventLog(
        offsets,
        np.concatenate([log.times, new.times])[picked],
        _join_positions(log.positions, new.positions).take(picked),
        values,
    )


def _join_positions(a: Positions, b: Positions) -> Positions:
    return Positions(
        np.concatenate([a.partition, b.partition]),
        np.concatenate([a.major, b.major]),
        np.concatenate([a.minor, b.minor]),
    )
