"""Operations on timelines: canonical form, cutting, splicing, refining, and where two timelines part.

A *suffix* of ``M`` keys is a Timeline over keys ``0..M-1`` that stands for the keys named beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from timeline_workers.columns import operations
from timeline_workers.columns.rows import (
    FOREVER,
    kept_offsets,
    merged,
    next_starts,
    offsets_of,
    ranges,
    row_keys,
    search,
)
from timeline_workers.columns.values import Bools, Flags, Int64, Linear, StringTable, Values

from .timelines import Timeline


def empty(values: Values, keys: int = 0) -> Timeline:
    """A timeline of ``keys`` keys outside their domain, with the layout of ``values``."""
    return Timeline(np.zeros(keys + 1, np.int64), np.zeros(0, np.int64), operations.empty_like(values))


def blank(layout: str, strings: StringTable | None = None) -> Values:
    """No values in the layout ``flags``, ``tagged`` or ``linear``."""
    if layout == "flags":
        return Flags(np.zeros(0, np.bool_))
    if layout == "tagged":
        return operations.unknown_tagged(0, strings)
    zeros = np.zeros(0, np.int64)
    return Linear(np.zeros(0, np.bool_), zeros, zeros)


def canonical(keys: int, key: Int64, starts: Int64, values: Values) -> Timeline:
    """Build a timeline of ``keys`` keys from rows sorted by (key, start): see ``compact``."""
    return compact(offsets_of(key, keys), starts, values)


def compact(offsets: Int64, starts: Int64, values: Values) -> Timeline:
    """Build a timeline from the rows of each key, sorted by start.

    Of several rows of a key at one start the last counts; neighbours that say the same become one.
    """
    if len(starts) < 2:
        return Timeline(offsets, starts, values)
    same_key = _same_key(offsets, len(starts))
    repeated = same_key & (starts[1:] == starts[:-1])
    if repeated.any():
        offsets, starts, values = _only(np.append(~repeated, True), offsets, starts, values)
        same_key = _same_key(offsets, len(starts))
    gaps = starts[1:] - starts[:-1] if isinstance(values, Linear) else None
    says_same = operations.same_as_before(values, gaps)
    says_same &= same_key
    if says_same.any():
        offsets, starts, values = _only(np.append(True, ~says_same), offsets, starts, values)
    return Timeline(offsets, starts, values)


def _same_key(offsets: Int64, rows: int) -> Bools:
    """Whether each row but the first is of the key of the row before it."""
    same = np.ones(rows + 1, np.bool_)
    same[offsets] = False
    inner: Bools = same[1:-1]
    return inner


def _only(stay: Bools, offsets: Int64, starts: Int64, values: Values) -> tuple[Int64, Int64, Values]:
    rows = np.flatnonzero(stay)
    return kept_offsets(offsets, stay), starts[rows], operations.take(values, rows)


def locate(timeline: Timeline, keys: Int64, times: Int64) -> Int64:
    """The row that holds at each (key, time), or -1 before the key's origin."""
    counts = search(timeline.offsets, timeline.starts, keys, times)
    return np.where(counts > 0, timeline.offsets[keys] + counts - 1, -1)


def origins(timeline: Timeline, keys: Int64) -> Int64:
    """The first start of each key; FOREVER where the key is not known."""
    low, high = timeline.offsets[keys], timeline.offsets[keys + 1]
    if len(timeline.starts) == 0:
        return np.full(len(keys), FOREVER, np.int64)
    return np.where(high > low, timeline.starts[np.minimum(low, len(timeline.starts) - 1)], FOREVER)


def covering(timeline: Timeline, keys: Int64, times: Int64) -> Timeline:
    """The rows of each key from the one that holds at ``times`` on, with their own starts."""
    rows = locate(timeline, keys, times)
    return after(timeline, keys, np.where(rows >= 0, rows - timeline.offsets[keys], 0))


def after(timeline: Timeline, keys: Int64, skip: Int64) -> Timeline:
    """The rows of each of ``keys`` after its first ``skip``."""
    low = timeline.offsets[keys] + skip
    lengths = timeline.offsets[keys + 1] - low
    picked = ranges(low, lengths)
    offsets = np.zeros(len(keys) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Timeline(offsets, timeline.starts[picked], operations.take(timeline.values, picked))


def cut(timeline: Timeline, keys: Int64, times: Int64) -> Timeline:
    """The timeline of each key from ``times`` on: a first row that began earlier now starts there."""
    return clip(covering(timeline, keys, times), times)


def clip(suffix: Timeline, times: Int64) -> Timeline:
    """``suffix`` with everything before ``times`` (one a key) cut off."""
    if len(suffix.starts) == 0:
        return suffix
    first = suffix.offsets[:-1]
    begins = suffix.starts[np.minimum(first, len(suffix.starts) - 1)]
    if bool(((begins >= times) | (first == suffix.offsets[1:])).all()):
        return suffix
    key = row_keys(suffix.offsets)
    limit = times[key]
    ends = next_starts(suffix.offsets, suffix.starts)
    offsets, starts, values = suffix.offsets, suffix.starts, suffix.values
    gone = ends <= limit
    if gone.any():
        rows = np.flatnonzero(~gone)
        key, starts, limit, values = key[rows], starts[rows], limit[rows], operations.take(values, rows)
        offsets = offsets_of(key, suffix.keys)
    moved = np.maximum(starts, limit)
    if isinstance(values, Linear) and bool((moved != starts).any()):
        values = operations.advance(values, moved - starts)
    return Timeline(offsets, moved, values)


def without_rows(timeline: Timeline, rows: Int64) -> Timeline:
    """``timeline`` without the given rows."""
    stay = np.ones(len(timeline.starts), np.bool_)
    stay[rows] = False
    kept = np.flatnonzero(stay)
    offsets = offsets_of(row_keys(timeline.offsets)[kept], timeline.keys)
    return Timeline(offsets, timeline.starts[kept], operations.take(timeline.values, kept))


@dataclass(frozen=True, slots=True)
class Refined:
    """The common pieces of timelines over the same keys, on the instants where all are in their domain.

    ``offsets``: by key; ``starts``: of the pieces; ``rows``: of each timeline, the row that holds.
    """

    offsets: Int64
    starts: Int64
    rows: list[Int64]

    @property
    def key(self) -> Int64:
        """The key of every piece."""
        return row_keys(self.offsets)


def refine(timelines: Sequence[Timeline]) -> Refined:
    """The common pieces of ``timelines``, which are over the same keys."""
    if len(timelines) == 1:
        only = timelines[0]
        return Refined(only.offsets, only.starts, [np.arange(len(only.starts), dtype=np.int64)])
    assert all(t.keys == timelines[0].keys for t in timelines)
    counts = [np.diff(t.offsets) for t in timelines]
    everywhere = np.minimum.reduce(counts) > 0
    if not everywhere.all():
        everyone = np.flatnonzero(everywhere)
        if not len(everyone):
            none = np.zeros(0, np.int64)
            return Refined(np.zeros(len(everywhere) + 1, np.int64), none, [none for _ in timelines])
        parts = [covering(t, everyone, np.full(len(everyone), -FOREVER, np.int64)) for t in timelines]
        refined = refine(parts)
        lengths = np.diff(refined.offsets)
        rows = [
            row + np.repeat(t.offsets[everyone] - part.offsets[:-1], lengths)
            for t, part, row in zip(timelines, parts, refined.rows, strict=True)
        ]
        offsets = np.zeros(len(everywhere) + 1, np.int64)
        offsets[everyone + 1] = lengths
        return Refined(np.cumsum(offsets), refined.starts, rows)
    starts = begun_together(timelines, counts)
    which, last = merged([t.offsets for t in timelines], starts)
    picked = np.flatnonzero(last)
    rows = []
    for index in range(len(timelines)):
        row = np.cumsum(which == index)[picked]
        row -= 1
        rows.append(row)
    offsets = kept_offsets(np.add.reduce([t.offsets for t in timelines]), last)
    return Refined(offsets, np.maximum.reduce([s[row] for s, row in zip(starts, rows, strict=True)]), rows)


def begun_together(timelines: Sequence[Timeline], counts: Sequence[Int64]) -> list[Int64]:
    """The starts of ``timelines`` that have rows of every key, ``counts`` of them, where none begins before
    the last.

    Rows from before a key's last timeline begins stand at that instant, where the last of them counts.
    """
    firsts = [timeline.starts[timeline.offsets[:-1]] for timeline in timelines]
    begins = np.maximum.reduce(firsts)
    return [
        t.starts if bool((first == begins).all()) else np.maximum(t.starts, np.repeat(begins, count))
        for t, first, count in zip(timelines, firsts, counts, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Parted:
    """Of each key of two suffixes: whether they differ, from which instant on (FOREVER where they do not),
    and how many rows they begin with that are the same; ``holding``: which row of the new one holds at that
    instant, its first if it begins later.
    """

    differs: Bools
    since: Int64
    rows: Int64
    holding: Int64


def part(old: Timeline, new: Timeline) -> Parted:
    """Where two suffixes of the same keys part."""
    old_count, new_count = np.diff(old.offsets), np.diff(new.offsets)
    common = np.minimum(old_count, new_count)
    left = ranges(old.offsets[:-1], common)
    right = ranges(new.offsets[:-1], common)
    equal = old.starts[left] == new.starts[right]
    equal &= operations.identical_columns(
        operations.take(old.values, left), operations.take(new.values, right)
    )
    key = np.repeat(np.arange(len(common)), common)
    place = ranges(np.zeros(len(common), np.int64), common)
    first = common.copy()
    unequal = np.flatnonzero(~equal)
    np.minimum.at(first, key[unequal], place[unequal])
    differs = (first < common) | (old_count != new_count)
    at_old = _start_or_forever(old, first, old_count)
    at_new = _start_or_forever(new, first, new_count)
    since = np.minimum(at_old, at_new)
    return Parted(differs, since, first, np.maximum(first - (at_new > since), 0))


def _start_or_forever(timeline: Timeline, place: Int64, counts: Int64) -> Int64:
    if len(timeline.starts) == 0:
        return np.full(len(place), FOREVER, np.int64)
    rows = np.minimum(timeline.offsets[:-1] + place, len(timeline.starts) - 1)
    return np.where(place < counts, timeline.starts[rows], FOREVER)
