"""Rows of many keys that grow in place.

Every key owns a run of rows with some room behind it. Replacing the end of a key's rows touches those rows
only; a key that outgrows its room moves to the end of the buffers with twice the room. So an update costs
what it changes, not what is held. What moved keys leave behind is reclaimed when it is more than what is
live.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .operations import as_objects
from .rows import ranges
from .values import Int64

Array: TypeAlias = NDArray[Any]
_SMALLEST_ROOM = 4
_BULK = 1_000  # so many new rows are stored without room behind them


class RowStore:
    """Parallel columns of rows, grouped by key ``0..keys-1``. ``columns`` give the layout; they must be
    empty."""

    def __init__(self, *columns: Array) -> None:
        self._buffers = [column[:0] for column in columns]
        none = np.zeros(0, np.int64)
        self.low, self.count, self._room = none, none, none
        self.live = 0
        self._end = 0
        # Whether somebody else may hold the buffers, so that they must be copied before they are changed.
        self._lent = False

    @property
    def keys(self) -> int:
        """Number of keys."""
        return len(self.low)

    @property
    def high(self) -> Int64:
        """Per key, the buffer index after its last row."""
        high: Int64 = self.low + self.count
        return high

    def column(self, index: int) -> Array:
        """The buffer of a column; only rows between ``low`` and ``high`` of some key mean anything."""
        return self._buffers[index]

    def ensure_keys(self, keys: int) -> None:
        """Make room for at least ``keys`` keys; new ones have no rows."""
        if keys > len(self.low):
            more = np.zeros(max(keys, 2 * len(self.low)) - len(self.low), np.int64)
            self.low, self.count, self._room = (
                np.concatenate([column, more]) for column in (self.low, self.count, self._room)
            )

    def rows_from(self, keys: Int64, skip: Int64) -> tuple[Int64, Int64 | slice]:
        """Offsets and buffer indices of each key's rows after its first ``skip``.

        Where these are most of what there is, one after the other, they are a slice. What is read by it
        is not copied, but stays as it is.
        """
        lengths = self.count[keys] - skip
        offsets = np.zeros(len(keys) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        low, total = self.low[keys] + skip, int(offsets[-1])
        if total > 64 and 2 * total >= self._end:
            first = int(low[np.argmax(lengths > 0)])
            if bool(((low - first == offsets[:-1]) | (lengths == 0)).all()):
                self._lent = True
                return offsets, slice(first, first + total)
        return offsets, ranges(low, lengths)

    def replace(self, keys: Int64, keep: Int64, offsets: Int64, columns: list[Array]) -> None:
        """After the first ``keep`` rows of each of the distinct ``keys``, put its rows of ``columns``
        (``offsets``: where each key's begin) in place of what was there.
        """
        added = np.diff(offsets)
        if not self._end and bool((keys == np.arange(len(keys))).all()):
            self._adopt(added, offsets, columns)
            return
        if len(columns[0]) >= _BULK and not self._room[keys].any():
            self._append(keys, added, offsets, columns)
            return
        needed = keep + added
        self._make_room(keys, keep, needed)
        self._own()
        rows = ranges(self.low[keys] + keep, added)
        for index, column in enumerate(columns):
            if column.dtype != self._buffers[index].dtype:
                self._buffers[index] = as_objects(self._buffers[index])
                column = as_objects(column)
            self._buffers[index][rows] = column
        self.live += int((needed - self.count[keys]).sum())
        self.count[keys] = needed
        if self._end > 64 + 4 * (self.live + _SMALLEST_ROOM * len(self.low)):
            self._compact()

    def drop_first(self, keys: Int64, skip: Int64) -> None:
        """Forget the first ``skip`` rows of each of the distinct ``keys``, and all space that is not used."""
        dropped = int(skip.sum())
        if dropped:
            self.low[keys] += skip
            self.count[keys] -= skip
            self._room[keys] -= skip
            self.live -= dropped
        self._compact()

    def renumber(self, keep: Int64) -> None:
        """Key ``keep[i]`` becomes key ``i``; the rows of all other keys are forgotten."""
        offsets, rows = self.rows_from(keep, np.zeros(len(keep), np.int64))
        self._pack(rows, np.diff(offsets))
        self.live = self._end

    def nbytes(self) -> int:
        """The memory held, in bytes; exact numbers that are no integers count as 100 bytes each."""
        held = sum(column.nbytes for column in (self.low, self.count, self._room))
        for buffer in self._buffers:
            held += buffer.nbytes + (100 * self.live if buffer.dtype == np.object_ else 0)
        return held

    def _adopt(self, added: Int64, offsets: Int64, columns: list[Array]) -> None:
        """The first rows of all are stored as they come, without room: often there are no others."""
        # A part of something larger would keep all of that in memory.
        self._buffers = [c if c.base is None or c.strides == (0,) else c.copy() for c in columns]
        self._lent = True
        known = slice(0, len(added))
        self.low[known] = np.where(added > 0, offsets[:-1], 0)
        self.count[known], self._room[known] = added, added
        self.live = self._end = len(columns[0])

    def _append(self, keys: Int64, added: Int64, offsets: Int64, columns: list[Array]) -> None:
        """Store many rows of keys that had none as they come, without room."""
        end = self._end + len(columns[0])
        self._grow(end)
        self._own()
        for index, column in enumerate(columns):
            if column.dtype != self._buffers[index].dtype:
                self._buffers[index] = as_objects(self._buffers[index])
                column = as_objects(column)
            self._buffers[index][self._end : end] = column
        self.low[keys] = np.where(added > 0, self._end + offsets[:-1], 0)
        self.count[keys] = self._room[keys] = added
        self.live += len(columns[0])
        self._end = end

    def _make_room(self, keys: Int64, keep: Int64, needed: Int64) -> None:
        outgrown = np.flatnonzero(needed > self._room[keys])
        if not len(outgrown):
            return
        moved, kept = keys[outgrown], keep[outgrown]
        room = np.maximum(2 * needed[outgrown], _SMALLEST_ROOM)
        low = self._end + np.cumsum(room) - room
        end = self._end + int(room.sum())
        self._grow(end)
        self._own()
        if kept.any():
            source, target = ranges(self.low[moved], kept), ranges(low, kept)
            for buffer in self._buffers:
                buffer[target] = buffer[source]
        self.low[moved], self._room[moved], self._end = low, room, end

    def _grow(self, end: int) -> None:
        """Have buffers of ``end`` rows at least."""
        if end > len(self._buffers[0]):
            for index, buffer in enumerate(self._buffers):
                grown = np.empty(max(end, 2 * len(buffer)), buffer.dtype)
                grown[: self._end] = buffer[: self._end]
                self._buffers[index] = grown
            self._lent = False

    def _own(self) -> None:
        """Have buffers that may be changed."""
        if self._lent:
            self._buffers = [buffer.copy() for buffer in self._buffers]
            self._lent = False

    def _compact(self) -> None:
        everyone = np.arange(len(self.low), dtype=np.int64)
        _, rows = self.rows_from(everyone, np.zeros(len(everyone), np.int64))
        self._pack(rows, self.count)

    def _pack(self, rows: Int64 | slice, count: Int64) -> None:
        """Keep the buffers' ``rows`` only, which are those of all keys in order, ``count`` a key."""
        self._buffers = [
            buffer[rows].copy() if isinstance(rows, slice) else buffer[rows] for buffer in self._buffers
        ]
        self._lent = False
        self.count, self._room = count.copy(), count.copy()
        # A key without rows begins nowhere: its place must not lie behind the last row.
        self.low = np.where(count > 0, np.cumsum(count) - count, 0)
        self._end = len(self._buffers[0])
