"""Counts, sums and means of many keys' timelines by group, exact and independent of the order of keys."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.exact import tidy
from timeline_workers.algebra.timeline.numbers import floats, is_number
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.rows import FOREVER, order
from timeline_workers.columns.values import (
    FLOAT,
    INT,
    INT64_MAX,
    INT64_MIN,
    Bools,
    Flags,
    Int64,
    Linear,
    Numbers,
    StringTable,
    Tagged,
    Values,
)

_SAFE = 2**62


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each key adds to each group, from ``since`` on: row i adds ``values[i]`` (a line from
    ``starts[i]``) to group ``group[i]`` over ``[starts[i], ends[i])``. ``begun``: groups that had a key
    before ``since``.
    """

    groups: int
    group: Int64
    key: Int64
    starts: Int64
    ends: Int64
    values: Values
    since: int
    begun: Int64


@dataclass(frozen=True, slots=True)
class _Steps:
    """The instants at which anything in a group changes, and how rows map onto them."""

    group: Int64
    time: Int64
    last: NDArray[np.intp]
    rows: NDArray[np.intp]
    sign: Int64
    sorted_group: Int64

    def accumulate(self, amounts: Numbers) -> Numbers:
        """The sum within each group, at each step, of ``amounts`` (one a contribution) in force."""
        rows = np.maximum(self.rows, 0)
        deltas = np.where(self.rows >= 0, amounts[rows] if len(amounts) else 0, 0) * self.sign
        if amounts.dtype != np.object_ and len(amounts):
            reach = int(np.abs(deltas.astype(np.float64)).sum())
            if reach >= _SAFE:
                deltas = deltas.astype(np.object_)
        if deltas.dtype == np.object_:
            deltas = np.array([int(d) if not isinstance(d, Fraction) else d for d in deltas], np.object_)
        sums = np.cumsum(deltas)
        # Every group's contributions are counted from nothing: take off what earlier groups left open.
        first = np.flatnonzero(np.append(True, self.sorted_group[1:] != self.sorted_group[:-1]))
        carried = np.where(first > 0, sums[np.maximum(first - 1, 0)], 0)
        lengths = np.diff(np.append(first, len(sums)))
        result: Numbers = (sums - np.repeat(carried, lengths))[self.last]
        return result


def _steps(c: Contributions) -> _Steps | None:
    closing = np.flatnonzero(c.ends != FOREVER)
    count = len(c.group)
    group = np.concatenate([c.begun, c.group, c.group[closing]])
    if not len(group):
        return None
    time = np.concatenate([np.full(len(c.begun), c.since, np.int64), c.starts, c.ends[closing]])
    rows = np.concatenate([np.full(len(c.begun), -1, np.intp), np.arange(count, dtype=np.intp), closing])
    sign = np.concatenate(
        [np.zeros(len(c.begun), np.int64), np.ones(count, np.int64), -np.ones(len(closing), np.int64)]
    )
    by_time = order(group, time)
    group, time = group[by_time], time[by_time]
    last = np.flatnonzero(np.append((group[1:] != group[:-1]) | (time[1:] != time[:-1]), True))
    return _Steps(group[last], time[last], last, rows[by_time], sign[by_time], group)


def _timeline(c: Contributions, steps: _Steps | None, values: Values) -> Timeline:
    if steps is None:
        return pieces.empty(values, c.groups)
    return pieces.canonical(c.groups, steps.group, steps.time, values)


def count(c: Contributions) -> Timeline:
    """The number of keys in each group."""
    steps = _steps(c)
    if steps is None:
        return _timeline(c, None, operations.unknown_tagged(0))
    counts = steps.accumulate(np.ones(len(c.group), np.int64)).astype(np.int64)
    return _timeline(c, steps, Tagged(np.full(len(counts), INT, np.uint8), counts, StringTable()))


def total(c: Contributions) -> Timeline:
    """The sum of the known values in each group; unknown where there is none."""
    steps = _steps(c)
    if isinstance(c.values, Linear):
        if steps is None:
            return _timeline(c, None, pieces.blank("linear"))
        return _timeline(c, steps, _line_sums(c, c.values, steps))
    values = as_numbers(c.values)
    if steps is None:
        return _timeline(c, None, values)
    sums, counts, any_float = _number_sums(values, steps)
    items: list[int | float | None] = []
    for amount, number, has_float in zip(sums.tolist(), counts.tolist(), any_float.tolist(), strict=True):
        items.append(None if not number else _rounded(amount, bool(has_float)))
    return _timeline(c, steps, Tagged.of(items))


def mean(c: Contributions) -> Timeline:
    """The mean of the known values in each group; unknown where there is none."""
    steps = _steps(c)
    if isinstance(c.values, Linear):
        if steps is None:
            return _timeline(c, None, pieces.blank("linear"))
        sums = _line_sums(c, c.values, steps)
        counts = steps.accumulate(c.values.known.astype(np.int64)).astype(np.int64)
        by = np.empty(len(counts), np.object_)
        by[:] = [Fraction(max(n, 1)) for n in counts.tolist()]
        num = tidy(operations.as_objects(sums.num) / by)
        slope = tidy(operations.as_objects(sums.slope) / by)
        return _timeline(c, steps, Linear(sums.known, num, slope))
    values = as_numbers(c.values)
    if steps is None:
        return _timeline(c, None, values)
    amounts, counts, _ = _number_sums(values, steps)
    items: list[int | float | None] = []
    for amount, number in zip(amounts.tolist(), counts.tolist(), strict=True):
        items.append(None if not number else _rounded(Fraction(amount) / number, True))
    return _timeline(c, steps, Tagged.of(items))


def as_numbers(values: Values) -> Tagged:
    """Flags as the ints 1 and 0; tagged values as they are."""
    if isinstance(values, Flags):
        return Tagged(np.full(len(values), INT, np.uint8), values.data.astype(np.int64), StringTable())
    assert isinstance(values, Tagged)
    return values


def _rounded(amount: int | Fraction, as_float: bool) -> int | float | None:
    if not as_float and INT64_MIN <= amount <= INT64_MAX:
        return int(amount)
    try:
        return float(amount)
    except OverflowError:
        return None


def _number_sums(values: Tagged, steps: _Steps) -> tuple[Numbers, Int64, Bools]:
    known = is_number(values)
    is_float = values.tags == FLOAT
    amounts: Numbers = np.where(known, values.bits, 0)
    if is_float.any():
        amounts = amounts.astype(np.object_)
        rows = np.flatnonzero(is_float)
        amounts[rows] = [Fraction(x) for x in floats(values)[rows].tolist()]
    counts = steps.accumulate(known.astype(np.int64)).astype(np.int64)
    any_float = steps.accumulate(is_float.astype(np.int64)).astype(np.int64) > 0
    return steps.accumulate(amounts), counts, any_float


def _line_sums(c: Contributions, values: Linear, steps: _Steps) -> Linear:
    # Each line is moved back to `since`, so that lines add up whenever they begin.
    base = operations.add_scaled(values.num, values.slope, c.since - c.starts)
    nums = steps.accumulate(base)
    slopes = steps.accumulate(values.slope)
    counts = steps.accumulate(values.known.astype(np.int64)).astype(np.int64)
    if nums.dtype == np.object_:
        nums = tidy(operations.as_objects(np.array([Fraction(n) for n in nums.tolist()], np.object_)))
    if slopes.dtype == np.object_:
        slopes = tidy(operations.as_objects(np.array([Fraction(n) for n in slopes.tolist()], np.object_)))
    return Linear(counts > 0, operations.add_scaled(nums, slopes, steps.time - c.since), slopes)
