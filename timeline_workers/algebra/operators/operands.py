"""The two sides of a comparison or an arithmetic operation: timelines, or one timeline and a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from timeline_workers.algebra.timeline import numbers, pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.rows import FOREVER, first_of_runs
from timeline_workers.columns.values import BOOL, Flags, Int64, Scalar, StringTable, Tagged, Values


@dataclass(frozen=True, slots=True)
class Constant:
    """A side that is the same for every key and instant."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides on their common pieces. ``offsets``: by key; ``starts``: of the pieces; ``left``, ``right``:
    values at the starts."""

    offsets: Int64
    starts: Int64
    left: Values
    right: Values


def common_pieces(left: Constant | None, right: Constant | None, inputs: Sequence[Timeline]) -> Sides:
    """Bring two sides onto their common pieces; a side given as None is the next of ``inputs``."""
    common = pieces.refine(inputs)
    starts = common.starts
    sides: list[Values] = []
    if len(inputs) == 1:
        sides.append(inputs[0].values)
    else:
        for timeline, row in zip(inputs, common.rows, strict=True):
            values = operations.take(timeline.values, row)
            sides.append(operations.advance(values, starts - timeline.starts[row]))
    strings = next((s.strings for s in sides if isinstance(s, Tagged)), None) or StringTable()
    if left is not None:
        sides.insert(0, numbers.constant(left.value, len(starts), strings))
    if right is not None:
        sides.append(numbers.constant(right.value, len(starts), strings))
    return Sides(common.offsets, starts, sides[0], sides[1])


def lengths(key: Int64, starts: Int64) -> Int64:
    """How long each piece lasts, in microseconds, of pieces sorted by ``key`` and start; the last of a key
    until the end of time."""
    result = np.full(len(key), FOREVER, np.int64)
    if len(key):
        inner = ~first_of_runs(key)[1:]
        result[:-1][inner] = (starts[1:] - starts[:-1])[inner]
        last = result == FOREVER
        result[last] = FOREVER - np.maximum(starts[last], 0)
    return result


def tagged(values: Values, strings: StringTable | None = None) -> Tagged:
    """Flags or tagged values as tagged ones."""
    if isinstance(values, Flags):
        table = StringTable() if strings is None else strings
        return Tagged(np.full(len(values), BOOL, np.uint8), values.data.astype(np.int64), table)
    assert isinstance(values, Tagged)
    return values
