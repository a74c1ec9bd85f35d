"""Boolean timelines combined: ``&&`` and ``  `` over all keys at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.columns.rows import FOREVER
from timeline_workers.columns.values import Bools, Flags, Int64

from . import pieces
from .timelines import Timeline


def at_least(needed: int, timelines: Sequence[Timeline]) -> Timeline:
    """True while at least ``needed`` of a few Boolean ``timelines`` over the same keys are, on the instants
    where all are in their domain.
    """
    counts = [np.diff(timeline.offsets) for timeline in timelines]
    everywhere = np.minimum.reduce(counts) > 0
    if len(everywhere) and everywhere.all():
        return _of_all(needed, timelines, counts)
    everyone = np.flatnonzero(everywhere)
    offsets = np.zeros(len(everywhere) + 1, np.int64)
    if not len(everyone):
        return Timeline(offsets, np.zeros(0, np.int64), Flags(np.zeros(0, np.bool_)))
    since = np.full(len(everyone), -FOREVER, np.int64)
    parts = [pieces.covering(timeline, everyone, since) for timeline in timelines]
    made = _of_all(needed, parts, [np.diff(part.offsets) for part in parts])
    offsets[everyone + 1] = np.diff(made.offsets)
    return Timeline(np.cumsum(offsets), made.starts, made.values)


def _of_all(needed: int, timelines: Sequence[Timeline], counts: Sequence[Int64]) -> Timeline:
    """The same for timelines that have rows of every key; ``counts``: how many, of each timeline.

    A row is sorted as one integer of key, instant, and by how much it changes the number of timelines that
    are True. Counted on from key to key, that number needs to know neither which timeline a row is from nor
    what the others said last.
    """
    assert len(timelines) < 128, "their number must fit 8 bits"
    starts = pieces.begun_together(timelines, counts)
    low = min(int(column.min()) for column in starts)
    width = (max(int(column.max()) for column in starts) - low).bit_length()
    keys = len(counts[0])
    if keys << width >= 2**60:
        return _by_rows(needed, timelines)
    base = (np.arange(keys, dtype=np.int64) << width) - low
    packed = np.empty(sum(len(column) for column in starts), np.int64)
    begin = 0
    for timeline, column, count in zip(timelines, starts, counts, strict=True):
        part = packed[begin : begin + len(column)]
        np.add(column, np.repeat(base, count), out=part)
        part <<= 2
        part |= _changes(timeline)
        begin += len(column)
    packed.sort()
    changes = (packed & 3).astype(np.int8)
    changes -= 1
    packed >>= 2
    # Between rows of one instant the number may leave 8 bits; after the last of them it is right again.
    true = np.cumsum(changes, dtype=np.int8) >= needed
    if bool((packed[1:] == packed[:-1]).any()):
        last = np.flatnonzero(np.append(packed[1:] != packed[:-1], True))
        packed, true = packed[last], true[last]
    first = np.ones(len(packed), np.bool_)
    np.greater_equal(packed[1:] ^ packed[:-1], 1 << width, out=first[1:])
    differs = first.copy()
    differs[1:] |= true[1:] != true[:-1]
    stay = np.flatnonzero(differs)
    offsets = np.append(np.flatnonzero(first[stay]), len(stay))
    made = packed[stay]
    made &= (1 << width) - 1
    made += low
    return Timeline(offsets, made, Flags(true[stay]))


def _changes(timeline: Timeline) -> Int64:
    """One more than by how much each row's flag (0 or 1) is greater than that of the row before it."""
    flags = _data(timeline).view(np.int8)
    changes = np.ones(len(flags), np.int8)
    changes[:1] += flags[:1]
    changes[1:] += flags[1:] - flags[:-1]
    return changes.astype(np.int64)


def _by_rows(needed: int, timelines: Sequence[Timeline]) -> Timeline:
    """The same where key and instant do not fit into one integer."""
    common = pieces.refine(timelines)
    flags = [_data(timeline)[rows] for timeline, rows in zip(timelines, common.rows, strict=True)]
    true = np.add.reduce([one.view(np.int8) for one in flags]) >= needed
    return pieces.compact(common.offsets, common.starts, Flags(true))


def _data(timeline: Timeline) -> Bools:
    assert isinstance(timeline.values, Flags)
    return np.ascontiguousarray(timeline.values.data)
