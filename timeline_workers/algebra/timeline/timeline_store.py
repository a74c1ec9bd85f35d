"""A timeline of many keys that is kept up to date in place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timeline_workers.columns import operations
from timeline_workers.columns.row_store import Array, RowStore
from timeline_workers.columns.rows import FOREVER, search_runs
from timeline_workers.columns.values import Bools, Flags, Int64, Linear, StringTable, Tagged, Values

from . import pieces
from .timelines import Timeline


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instant lies among the rows of each of ``keys``: how many of them start ``before`` it, and
    with those at it, how many have ``begun``. ``carried``: the value of the last one before it, carried
    forward to it; arbitrary where there is none.
    """

    keys: Int64
    times: Int64
    before: Int64
    begun: Int64
    carried: Values


class TimelineStore:
    """What a ``Timeline`` holds, with cheap replacement of suffixes. ``blank``: no values, of the layout to
    hold."""

    def __init__(self, blank: Values) -> None:
        self._blank = operations.empty_like(blank)
        self._rows = RowStore(np.zeros(0, np.int64), *_columns_of(self._blank))
        self._keys = 0
        self._timeline: Timeline | None = None

    def __len__(self) -> int:
        return self._rows.live

    @property
    def keys(self) -> int:
        """Number of keys."""
        return self._keys

    @property
    def blank(self) -> Values:
        """No values, of this layout and string table."""
        return self._blank

    def ensure_keys(self, keys: int) -> None:
        """Hold at least ``keys`` keys; new ones are outside their domain."""
        if keys > self._keys:
            self._rows.ensure_keys(keys)
            self._keys = keys
            self._timeline = None

    def origins(self, keys: Int64) -> Int64:
        """The first start of each key; FOREVER where the key is not known."""
        if not self._rows.live:
            return np.full(len(keys), FOREVER, np.int64)
        starts = self._rows.column(0)
        return np.where(self._rows.count[keys] > 0, starts[self._rows.low[keys]], FOREVER)

    def earliest(self) -> int:
        """The least start of all keys; FOREVER when no key is known."""
        known = np.flatnonzero(self._rows.count)
        return int(self.origins(known).min()) if len(known) else FOREVER

    def known_keys(self) -> Int64:
        """The keys that have rows, ascending."""
        return np.flatnonzero(self._rows.count)

    def before(self, keys: Int64, times: Int64) -> tuple[Bools, Values]:
        """Whether each key has a piece that began before ``times``, and its value carried forward to
        ``times``.

        Where there is none the value is arbitrary. The store must hold some row.
        """
        place = self._place(keys, times, self._rows.count[keys])
        return place.before > 0, place.carried

    def place(self, keys: Int64, times: Int64) -> Place | None:
        """Where each of ``times`` lies among the rows of its key; None when none of ``keys`` is known."""
        count = self._rows.count[keys] if self._rows.live else np.zeros(0, np.int64)
        return self._place(keys, times, count) if count.any() else None

    def _place(self, keys: Int64, times: Int64, count: Int64) -> Place:
        starts, low = self._rows.column(0), self._rows.low[keys]
        before = search_runs(low, count, starts, times - 1)
        after = low + before
        begun = before + ((before < count) & (starts[np.minimum(after, len(starts) - 1, out=after)] == times))
        found = before > 0
        rows = low + before
        rows -= 1
        if not found.all():
            rows = np.where(found, rows, rows[found][0] if found.any() else 0)
        carried = self._values(rows)
        if isinstance(carried, Linear):
            carried = operations.advance(carried, np.where(found, times - starts[rows], 0))
        return Place(keys, times, before, begun, carried)

    def covering(self, keys: Int64, times: Int64, origins: Int64 | None = None) -> Timeline:
        """The rows of each key from the one that holds at ``times`` on, with their own starts.

        ``origins``: those of the keys, when they are known already.
        """
        if origins is not None and bool((times <= origins).all()):
            skip = np.zeros(len(keys), np.int64)
        else:
            skip = np.maximum(self._began(keys, times) - 1, 0)
        offsets, rows = self._rows.rows_from(keys, skip)
        return Timeline(offsets, self._rows.column(0)[rows], self._values(rows))

    def cut(self, keys: Int64, times: Int64) -> Timeline:
        """The timeline of each key from ``times`` on: a first row that began earlier now starts there."""
        return pieces.clip(self.covering(keys, times), times)

    def replace_suffix(self, keys: Int64, times: Int64, suffix: Timeline) -> None:
        """For each of the distinct ``keys``, replace all from ``times`` on by its timeline in ``suffix``.

        A suffix row that continues the kept row before it does not become a row of its own.
        """
        if not len(keys):
            return
        self.ensure_keys(int(keys.max()) + 1)
        keep = self._began(keys, times - 1)
        self._put(keys, keep, self._without_continued(keys, keep, suffix))

    def replace_from(self, place: Place, suffix: Timeline) -> tuple[Int64, Int64, Timeline]:
        """Replace what is held from ``place`` on, of its distinct keys, by their timelines in ``suffix``,
        none of which begins earlier or has neighbours that say the same.

        Returns what this changed: of which keys (as places among those of ``place``), from which instants on,
        and their timelines from there on.
        """
        first_row = np.maximum(place.begun - 1, 0)
        offsets, rows = self._rows.rows_from(place.keys, first_row)
        held = Timeline(offsets, self._rows.column(0)[rows], self._values(rows))
        parted = pieces.part(pieces.clip(held, place.times), suffix)
        keep = np.where(parted.rows > 0, first_row + parted.rows, place.before)
        differs = np.flatnonzero(parted.differs)
        keep, since = keep[differs], parted.since[differs]
        news, skip = suffix, parted.holding[differs]
        if len(differs) < suffix.keys or skip.any():
            news = pieces.after(suffix, differs, skip)
        news = pieces.clip(news, since)
        if len(differs):
            # What says the same as the row that is kept before it is not stored as a row of its own.
            led = parted.rows[differs] > 0
            continued = led & (parted.holding < parted.rows)[differs]
            heads = np.flatnonzero(~led & (keep > 0) & (np.diff(news.offsets) > 0))
            if len(heads):
                first = news.offsets[heads]
                gap = news.starts[first] - since[heads]
                carried = operations.advance(operations.take(place.carried, differs[heads]), gap)
                continued[heads] = operations.same_columns(carried, operations.take(news.values, first))
            gone = news.offsets[:-1][continued]
            self._put(place.keys[differs], keep, pieces.without_rows(news, gone) if len(gone) else news)
        return differs, since, news

    def _put(self, keys: Int64, keep: Int64, suffix: Timeline) -> None:
        self._timeline = None
        values = self._in_own_table(suffix.values)
        self._rows.replace(keys, keep, suffix.offsets, [suffix.starts, *_columns_of(values)])

    def timeline(self) -> Timeline:
        """Everything as an immutable timeline; made anew only after a change."""
        if self._timeline is None:
            everyone = np.arange(self._keys, dtype=np.int64)
            offsets, rows = self._rows.rows_from(everyone, np.zeros(self._keys, np.int64))
            self._timeline = Timeline(offsets, self._rows.column(0)[rows], self._values(rows))
        return self._timeline

    def one(self, key: int) -> Timeline:
        """The timeline of one key, by itself. Nothing is copied: read it before the store changes."""
        low = count = 0
        if key < self._keys:
            low, count = int(self._rows.low[key]), int(self._rows.count[key])
        rows = slice(low, low + count)
        return Timeline(np.array([0, count]), self._rows.column(0)[rows], self._values(rows))

    def last_starts(self, keys: Int64) -> Int64:
        """The last start of each key, which may lie in the future; -FOREVER where the key is not known."""
        if not self._rows.live:
            return np.full(len(keys), -FOREVER, np.int64)
        rows = np.maximum(self._rows.high[keys] - 1, 0)
        return np.where(self._rows.count[keys] > 0, self._rows.column(0)[rows], -FOREVER)

    def compact(self, horizons: Int64) -> Bools:
        """For each key, forget the rows that ended at or before its horizon, but for the last row that
        began before it. Returns which keys had rows forgotten.

        So what the key was just before the horizon stays, and since when. Memory that is not used is given
        back.
        """
        everyone = np.arange(self._keys, dtype=np.int64)
        skip = np.maximum(self._began(everyone, horizons - 1) - 1, 0)
        self._rows.drop_first(everyone, skip)
        self._timeline = None
        compacted: Bools = skip > 0
        return compacted

    def rows_of(self, keys: Int64) -> Timeline:
        """All rows of ``keys``, renumbered ``0..M-1``."""
        offsets, rows = self._rows.rows_from(keys, np.zeros(len(keys), np.int64))
        return Timeline(offsets, self._rows.column(0)[rows], self._values(rows))

    def put_rows(self, keys: Int64, rows: Timeline) -> None:
        """Hold ``rows`` as they are for the distinct ``keys``, in place of all that was held of them."""
        if not len(keys):
            return
        self.ensure_keys(int(keys.max()) + 1)
        self._timeline = None
        columns_ = [rows.starts, *_columns_of(self._in_own_table(rows.values))]
        self._rows.replace(keys, np.zeros(len(keys), np.int64), rows.offsets, columns_)

    def renumber(self, keep: Int64) -> None:
        """Key ``keep[i]`` becomes key ``i``; all others are forgotten."""
        self._rows.renumber(keep)
        self._keys = len(keep)
        self._timeline = None

    def recode(self, strings: StringTable) -> None:
        """Hold strings by their codes in ``strings``, so that a table of strings no longer held can go."""
        if not isinstance(self._blank, Tagged):
            return
        everyone = np.arange(self._keys, dtype=np.int64)
        rows = self.rows_of(everyone)
        self._blank = operations.unknown_tagged(0, strings)
        self._rows = RowStore(np.zeros(0, np.int64), *_columns_of(self._blank))
        self._rows.ensure_keys(self._keys)
        self.put_rows(everyone, rows)

    def nbytes(self) -> int:
        """The memory held, in bytes, strings aside."""
        return self._rows.nbytes()

    def _in_own_table(self, values: Values) -> Values:
        if isinstance(values, Tagged):
            assert isinstance(self._blank, Tagged)
            return operations.in_table(values, self._blank.strings)
        return values

    def _began(self, keys: Int64, times: Int64) -> Int64:
        """How many rows of each key start at or before ``times``."""
        if not self._rows.live:
            return np.zeros(len(keys), np.int64)
        return search_runs(self._rows.low[keys], self._rows.count[keys], self._rows.column(0), times)

    def _values(self, rows: Int64 | slice) -> Values:
        parts = [self._rows.column(index)[rows] for index in range(1, 1 + len(_columns_of(self._blank)))]
        if isinstance(self._blank, Flags):
            return Flags(parts[0])
        if isinstance(self._blank, Tagged):
            return Tagged(parts[0], parts[1], self._blank.strings)
        return Linear(parts[0], parts[1], parts[2])

    def _without_continued(self, keys: Int64, keep: Int64, suffix: Timeline) -> Timeline:
        both = np.flatnonzero((keep > 0) & (np.diff(suffix.offsets) > 0))
        if not len(both):
            return suffix
        before = self._rows.low[keys[both]] + keep[both] - 1
        first = suffix.offsets[both]
        gap = suffix.starts[first] - self._rows.column(0)[before]
        left = operations.advance(self._values(before), gap)
        continued = operations.same_columns(left, operations.take(suffix.values, first))
        return pieces.without_rows(suffix, first[continued]) if continued.any() else suffix


def _columns_of(values: Values) -> list[Array]:
    if isinstance(values, Flags):
        return [values.data]
    if isinstance(values, Tagged):
        return [values.tags, values.bits]
    return [values.known, values.num, values.slope]
