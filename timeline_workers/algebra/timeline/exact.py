"""Exact arithmetic on Linear columns: sums, scaling, and the instants at which two lines cross.

Values are held in millionths (see ``values``): int64 while that is exact, ``Fraction`` objects else. A
float that meets a duration counts as the decimal it is written as, so ``0.3`` is three tenths and not the
nearest binary fraction: a threshold of 0.3 s is exactly 300,000 microseconds.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.operations import as_objects
from timeline_workers.columns.values import FLOAT, INT, Bools, Flags, Int64, Linear, Numbers, Tagged

from .numbers import is_number

MILLION = 1_000_000
_SAFE = 2**62


def decimal(value: int | float) -> Fraction:
    """The number as it is written."""
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)


def tidy(numbers: Numbers) -> Numbers:
    """The same numbers as int64 where every one is whole and far enough from the ends of 64 bits."""
    if numbers.dtype != np.object_:
        return numbers
    items: list[Fraction] = numbers.tolist()
    if all(n.denominator == 1 and -_SAFE < n.numerator < _SAFE for n in items):
        return np.array([n.numerator for n in items], np.int64)
    return numbers


def lift(values: Tagged | Flags | Linear) -> Linear:
    """A column of numbers (or of flags, as 1 and 0) as exact values without slope."""
    if isinstance(values, Linear):
        return values
    if isinstance(values, Flags):
        num = values.data.astype(np.int64) * MILLION
        return Linear(np.ones(len(num), np.bool_), num, np.zeros(len(num), np.int64))
    known = is_number(values)
    zeros = np.zeros(len(values), np.int64)
    whole = known & (values.tags == INT)
    if bool((whole | ~known).all()) and _fits(values.bits[whole], limit=_SAFE // MILLION):
        return Linear(known, np.where(whole, values.bits, 0) * MILLION, zeros)
    return Linear(known, tidy(_scaled_decimals(values, known)), zeros)


def _scaled_decimals(values: Tagged, known: Bools) -> NDArray[np.object_]:
    out = np.empty(len(values), np.object_)
    out[:] = Fraction(0)
    for tag in (INT, FLOAT):
        rows = np.flatnonzero(known & (values.tags == tag))
        if not len(rows):
            continue
        used, inverse = np.unique(values.bits[rows], return_inverse=True)
        items = used.tolist() if tag == INT else used.view(np.float64).tolist()
        scaled = np.empty(len(used), np.object_)
        scaled[:] = [decimal(item) * MILLION for item in items]
        out[rows] = scaled[inverse]
    return out


def _fits(*numbers: Numbers, limit: int = _SAFE) -> bool:
    reach = 0
    for n in numbers:
        if n.dtype == np.object_:
            return False
        if len(n):
            reach += max(abs(int(n.max())), abs(int(n.min())))
    return reach < limit


def combine(a: Linear, b: Linear, sign: int) -> Linear:
    """``a + sign * b``; unknown where a side is."""
    known = a.known & b.known
    return Linear(
        known, _masked(known, _add(a.num, b.num, sign)), _masked(known, _add(a.slope, b.slope, sign))
    )


def _add(x: Numbers, y: Numbers, sign: int) -> Numbers:
    if _fits(x, y):
        return x + y if sign > 0 else x - y
    left, right = as_objects(x), as_objects(y)
    return tidy(left + right if sign > 0 else left - right)


def _masked(known: Bools, numbers: Numbers) -> Numbers:
    if bool(known.all()):
        return numbers
    if numbers.dtype == np.object_:
        out = numbers.copy()
        out[~known] = Fraction(0)
        return out
    return np.where(known, numbers, 0)


def multiply(a: Linear, factor: Linear) -> Linear:
    """``a * factor`` where ``factor`` has no slope (it is in millionths too)."""
    known = a.known & factor.known
    if _whole(factor.num):
        times: Numbers = factor.num // MILLION
        if _product_fits(a.num, times) and _product_fits(a.slope, times):
            return Linear(known, _masked(known, a.num * times), _masked(known, a.slope * times))
    exact = as_objects(factor.num) / MILLION
    num = tidy(as_objects(a.num) * exact)
    slope = tidy(as_objects(a.slope) * exact)
    return Linear(known, _masked(known, num), _masked(known, slope))


def _whole(numbers: Numbers) -> bool:
    return numbers.dtype != np.object_ and not bool((numbers % MILLION).any())


def _product_fits(x: Numbers, y: Numbers) -> bool:
    if x.dtype == np.object_ or y.dtype == np.object_ or not len(x):
        return x.dtype == y.dtype and not len(x)
    reach = max(abs(int(x.max())), abs(int(x.min()))) * max(abs(int(y.max())), abs(int(y.min())))
    return reach < _SAFE


def divide(a: Linear, divisor: Linear) -> Linear:
    """``a / divisor`` where ``divisor`` has no slope; unknown where it is 0."""
    known = a.known & divisor.known & (divisor.num != 0).astype(np.bool_)
    by = as_objects(divisor.num).copy()
    by[~known] = Fraction(MILLION)
    by = by / MILLION
    num = tidy(as_objects(a.num) / by)
    slope = tidy(as_objects(a.slope) / by)
    return Linear(known, _masked(known, num), _masked(known, slope))


def sign_pieces(difference: Linear, lengths: Int64) -> tuple[Int64, Int64, NDArray[np.int8]]:
    """Where the sign of each row's line changes within the row's length, at whole microseconds.

    Returns (row, shift, sign) sorted by (row, shift): from ``shift`` microseconds after row ``row`` starts
    the line has that sign. A sign of 0 on a sloping line lasts one microsecond, and only when the line
    passes through zero on a whole one.
    """
    num, slope = difference.num, difference.slope
    count = len(num)
    start_sign = np.sign(num).astype(np.int8) if count else np.zeros(0, np.int8)
    slope_sign = np.sign(slope).astype(np.int8) if count else np.zeros(0, np.int8)
    rows = np.arange(count, dtype=np.int64)
    crossing = np.flatnonzero((slope_sign != 0) & (start_sign != slope_sign))
    if not len(crossing):
        return rows, np.zeros(count, np.int64), start_sign
    reach, on_grid = _zero_after(num[crossing], slope[crossing], lengths[crossing])
    heading = slope_sign[crossing]
    # At `reach` (rounded up) the line is on zero or past it; one microsecond later it is past it.
    at_sign = np.where(on_grid, np.int8(0), heading)
    inside = (reach > 0) & (reach < lengths[crossing])
    past = on_grid & (reach + 1 < lengths[crossing])
    row = np.concatenate([rows, crossing[inside], crossing[past]])
    shift = np.concatenate([np.zeros(count, np.int64), reach[inside], reach[past] + 1])
    sign = np.concatenate([start_sign, at_sign[inside], heading[past]])
    by_place = np.lexsort((shift, row))
    return row[by_place], shift[by_place], sign[by_place]


def _zero_after(num: Numbers, slope: Numbers, lengths: Int64) -> tuple[Int64, Bools]:
    """Microseconds until each line is first on or past zero, capped at its length, and whether it is on
    it."""
    if num.dtype != np.object_ and slope.dtype != np.object_:
        distance, speed = np.abs(num), np.abs(slope)
        reach = -(-distance // speed)
        on_grid = distance % speed == 0
    else:
        exact = [abs(Fraction(n) / Fraction(s)) for n, s in zip(num.tolist(), slope.tolist(), strict=True)]
        limits = lengths.tolist()
        reach = np.array(
            [min(-(-e.numerator // e.denominator), limit) for e, limit in zip(exact, limits, strict=True)],
            np.int64,
        )
        on_grid = np.array(
            [e.denominator == 1 and e.numerator < limit for e, limit in zip(exact, limits, strict=True)]
        )
    return reach, on_grid & (reach < lengths)
