"""Operations on timelines: canonical form, cutting, splicing, refining, and where two timelines part.

A *suffix* of ``M`` keys is a Timeline over keys ``0..M-1`` that stands for the keys named beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import columns
from .rows import FOREVER, next_starts, offsets_of, order, ranges, row_keys, search
from .timelines import Timeline
from .values import Bools, Flags, Int64, Linear, StringTable, Values


def empty(values: Values, keys: int = 0) -> Timeline:
    """A timeline of ``keys`` keys outside their domain, with the layout of ``values``."""
    return Timeline(np.zeros(keys + 1, np.int64), np.zeros(0, np.int64), columns.empty_like(values))


def blank(layout: str, strings: StringTable | None = None) -> Values:
    """No values in the layout ``flags``, ``tagged`` or ``linear``."""
    if layout == "flags":
        return Flags(np.zeros(0, np.bool_))
    if layout == "tagged":
        return columns.unknown_tagged(0, strings)
    zeros = np.zeros(0, np.int64)
    return Linear(np.zeros(0, np.bool_), zeros, zeros)


def canonical(keys: int, key: Int64, starts: Int64, values: Values) -> Timeline:
    """Build a timeline of ``keys`` keys from rows sorted by (key, start).

    Of several rows at one (key, start) the last counts; neighbours that say the same become one.
    """
    if len(key) == 0:
        return Timeline(np.zeros(keys + 1, np.int64), starts, values)
    repeated = (key[1:] == key[:-1]) & (starts[1:] == starts[:-1])
    if repeated.any():
        rows = np.flatnonzero(np.append(~repeated, True))
        key, starts, values = key[rows], starts[rows], columns.take(values, rows)
    gaps = starts[1:] - starts[:-1] if isinstance(values, Linear) else None
    says_same = (key[1:] == key[:-1]) & columns.same_as_before(values, gaps)
    if says_same.any():
        rows = np.flatnonzero(np.append(True, ~says_same))
        key, starts, values = key[rows], starts[rows], columns.take(values, rows)
    return Timeline(offsets_of(key, keys), starts, values)


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
    low = np.where(rows >= 0, rows, timeline.offsets[keys])
    lengths = timeline.offsets[keys + 1] - low
    picked = ranges(low, lengths)
    offsets = np.zeros(len(keys) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Timeline(offsets, timeline.starts[picked], columns.take(timeline.values, picked))


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
        key, starts, limit, values = key[rows], starts[rows], limit[rows], columns.take(values, rows)
        offsets = offsets_of(key, suffix.keys)
    moved = np.maximum(starts, limit)
    if isinstance(values, Linear) and bool((moved != starts).any()):
        values = columns.advance(values, moved - starts)
    return Timeline(offsets, moved, values)


def without_rows(timeline: Timeline, rows: Int64) -> Timeline:
    """``timeline`` without the given rows."""
    stay = np.ones(len(timeline.starts), np.bool_)
    stay[rows] = False
    kept = np.flatnonzero(stay)
    offsets = offsets_of(row_keys(timeline.offsets)[kept], timeline.keys)
    return Timeline(offsets, timeline.starts[kept], columns.take(timeline.values, kept))


def refine(timelines: Sequence[Timeline]) -> tuple[Int64, Int64, list[Int64]]:
    """The common pieces of timelines over the same keys, on the instants where all of them are in their
    domain.

    Returns (key, start, rows): for every common piece its key, its start and the row of each timeline that
    holds.
    """
    if len(timelines) == 1:
        only = timelines[0]
        return row_keys(only.offsets), only.starts, [np.arange(len(only.starts), dtype=np.int64)]
    keys = timelines[0].keys
    key = np.concatenate([row_keys(t.offsets) for t in timelines])
    starts = np.concatenate([t.starts for t in timelines])
    sizes = [len(t.starts) for t in timelines]
    which = np.repeat(np.arange(len(timelines)), sizes)
    sorted_rows = order(key, starts)
    key, starts, which = key[sorted_rows], starts[sorted_rows], which[sorted_rows]
    rows: list[Int64] = []
    defined = np.ones(len(key), np.bool_)
    for index, timeline in enumerate(timelines):
        # How many rows of this timeline came up to here; minus one is the row that holds.
        holding = np.cumsum(which == index) - 1
        defined &= holding >= timeline.offsets[:-1][key]
        rows.append(holding)
    last = np.ones(len(key), np.bool_)
    if len(key):
        last[:-1] = (key[1:] != key[:-1]) | (starts[1:] != starts[:-1])
    picked = np.flatnonzero(defined & last)
    assert all(t.keys == keys for t in timelines)
    return key[picked], starts[picked], [r[picked] for r in rows]


def where_they_part(old: Timeline, new: Timeline) -> tuple[Bools, Int64]:
    """For each key: whether two suffixes differ, and the first instant from which they do."""
    old_count, new_count = np.diff(old.offsets), np.diff(new.offsets)
    common = np.minimum(old_count, new_count)
    left = ranges(old.offsets[:-1], common)
    right = ranges(new.offsets[:-1], common)
    equal = old.starts[left] == new.starts[right]
    equal &= columns.identical_columns(columns.take(old.values, left), columns.take(new.values, right))
    key = np.repeat(np.arange(len(common)), common)
    place = ranges(np.zeros(len(common), np.int64), common)
    first = common.copy()
    unequal = np.flatnonzero(~equal)
    np.minimum.at(first, key[unequal], place[unequal])
    differs = (first < common) | (old_count != new_count)
    at_old = _start_or_forever(old, first, old_count)
    at_new = _start_or_forever(new, first, new_count)
    return differs, np.minimum(at_old, at_new)


def _start_or_forever(timeline: Timeline, place: Int64, counts: Int64) -> Int64:
    if len(timeline.starts) == 0:
        return np.full(len(place), FOREVER, np.int64)
    rows = np.minimum(timeline.offsets[:-1] + place, len(timeline.starts) - 1)
    return np.where(place < counts, timeline.starts[rows], FOREVER)
