"""Operations on value columns that do not depend on what an operator means: take, join, choose, compare
rows."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .rows import gathered
from .values import (
    FLOAT,
    INT,
    STRING,
    UNKNOWN,
    Bools,
    Flags,
    Int64,
    Linear,
    Numbers,
    StringTable,
    Tagged,
    Values,
)

V = TypeVar("V", bound=Flags | Tagged | Linear)
Rows = NDArray[np.intp] | NDArray[np.int64] | NDArray[np.bool_] | slice


def take(values: V, rows: Rows) -> V:
    """The values at ``rows``; those of a slice are not copied."""
    taken: Values
    if isinstance(values, Flags):
        taken = Flags(values.data[rows])
    elif isinstance(values, Tagged):
        taken = Tagged(values.tags[rows], values.bits[rows], values.strings)
    else:
        taken = Linear(values.known[rows], values.num[rows], values.slope[rows])
    return cast(V, taken)


def take_mixed(values: Tagged, rows: Int64) -> Tagged:
    """The values at ``rows``, which are many in no order."""
    if is_constant(values) or not len(rows):
        return take(values, rows)
    tag = values.tags.min()
    alike = bool(tag == values.tags.max())
    tags = np.full(len(rows), tag, np.uint8) if alike else values.tags.take(rows)
    return Tagged(tags, gathered(values.bits, rows), values.strings)


def in_table(values: Tagged, strings: StringTable) -> Tagged:
    """The same values with their strings coded in ``strings`` (which may grow)."""
    if values.strings is strings:
        return values
    if len(values) > 1 and is_constant(values):
        one = in_table(take(values, slice(0, 1)), strings)
        shape = (len(values),)
        return Tagged(np.broadcast_to(one.tags, shape), np.broadcast_to(one.bits, shape), strings)
    is_string = values.tags == STRING
    if not is_string.any():
        return Tagged(values.tags, values.bits, strings)
    names = values.strings.names
    codes = values.bits if is_string.all() else values.bits[is_string]
    if len(names) > len(codes) + 1_000:
        used, places = np.unique(codes, return_inverse=True)
        table = strings.intern_all(names[int(code)] for code in used)
        coded = table[places]
    else:  # a table of all codes costs less than sorting those that occur
        occurs = np.zeros(len(names), np.bool_)
        occurs[codes] = True
        used = np.flatnonzero(occurs)
        table = np.zeros(len(names), np.int64)
        table[used] = strings.intern_all(names[int(code)] for code in used)
        coded = table[codes]
    if len(coded) == len(values):
        return Tagged(values.tags, coded, strings)
    bits = values.bits.copy()
    bits[is_string] = coded
    return Tagged(values.tags, bits, strings)


def is_constant(values: Tagged) -> bool:
    """Whether the column is one value that is held once (``numbers.constant``)."""
    return values.tags.strides == (0,) and values.bits.strides == (0,)


def join(first: V, second: V) -> V:
    """``first`` followed by ``second``, of one layout; strings are coded in the table of ``first``."""
    joined: Values
    if isinstance(first, Flags):
        assert isinstance(second, Flags)
        joined = Flags(np.concatenate([first.data, second.data]))
    elif isinstance(first, Tagged):
        assert isinstance(second, Tagged)
        second_bits = in_table(second, first.strings).bits
        joined = Tagged(
            np.concatenate([first.tags, second.tags]),
            np.concatenate([first.bits, second_bits]),
            first.strings,
        )
    else:
        assert isinstance(second, Linear)
        joined = Linear(
            np.concatenate([first.known, second.known]),
            _join_numbers(first.num, second.num),
            _join_numbers(first.slope, second.slope),
        )
    return cast(V, joined)


def _join_numbers(first: Numbers, second: Numbers) -> Numbers:
    if first.dtype != second.dtype:
        first, second = as_objects(first), as_objects(second)
    joined: Numbers = np.concatenate([first, second])
    return joined


def as_objects(numbers: Numbers) -> NDArray[np.object_]:
    """The same numbers as ``Fraction`` objects."""
    if numbers.dtype == np.object_:
        return cast(NDArray[np.object_], numbers)
    out = np.empty(len(numbers), np.object_)
    out[:] = [Fraction(n) for n in numbers.tolist()]
    return out


def empty_like(values: V) -> V:
    """No rows of the same layout (and string table)."""
    return take(values, np.zeros(0, np.intp))


def unknown_tagged(count: int, strings: StringTable | None = None) -> Tagged:
    """``count`` unknown values."""
    return Tagged(
        np.zeros(count, np.uint8), np.zeros(count, np.int64), StringTable() if strings is None else strings
    )


def known(values: Values) -> Bools:
    """Where the value is known."""
    if isinstance(values, Flags):
        return np.ones(len(values.data), np.bool_)
    if isinstance(values, Tagged):
        tagged: Bools = values.tags != UNKNOWN
        return tagged
    return values.known


def advance(values: V, by: Int64) -> V:
    """The values ``by`` microseconds further on along their slopes."""
    if not isinstance(values, Linear):
        return values
    return cast(V, Linear(values.known, add_scaled(values.num, values.slope, by), values.slope))


def add_scaled(num: Numbers, slope: Numbers, by: Int64) -> Numbers:
    """``num + slope * by``, exact: leaves int64 for Fractions where it would overflow."""
    if len(num) == 0:
        return num
    if num.dtype != np.object_ and slope.dtype != np.object_:
        reach = _reach(num) + _reach(slope) * _reach(by)
        if reach < 2**63:
            ints: Int64 = num + slope * by
            return ints
    exact: NDArray[np.object_] = as_objects(num) + as_objects(slope) * as_objects(by)
    return exact


def _reach(numbers: Numbers) -> int:
    return max(abs(int(numbers.max())), abs(int(numbers.min())))


def same(values: Values, left: Rows, right: Rows, gap: Int64 | None = None) -> Bools:
    """Whether row ``left[i]`` says the same as row ``right[i]``.

    For Linear values ``gap[i]`` is how many microseconds row right starts after row left: they say the
    same when they are one line. An int and a float that are the same number are the same.
    """
    if isinstance(values, Flags):
        result: Bools = values.data[left] == values.data[right]
        return result
    if isinstance(values, Tagged):
        return same_tagged(take(values, left), take(values, right))
    a, b = take(values, left), take(values, right)
    moved = a if gap is None else advance(a, gap)
    result = (a.known == b.known) & ((moved.num == b.num) & (a.slope == b.slope)).astype(np.bool_)
    return result


def same_as_before(values: Values, gaps: Int64 | None = None) -> Bools:
    """Whether each row but the first says the same as the row before it; ``gaps`` as in ``same``."""
    return same(values, slice(0, -1), slice(1, None), gaps)


def same_tagged(a: Tagged, b: Tagged) -> Bools:
    """Pointwise sameness of two columns over one string table."""
    alike = a.tags == b.tags
    result: Bools = alike & (a.bits == b.bits)
    if alike.all():
        return result
    mixed = ((a.tags == INT) & (b.tags == FLOAT)) | ((a.tags == FLOAT) & (b.tags == INT))
    if mixed.any():
        rows = np.flatnonzero(mixed)
        result[rows] = [a.item(int(i)) == b.item(int(i)) for i in rows]
    return result


def identical_columns(a: Values, b: Values) -> Bools:
    """Pointwise identity of two columns of one layout: like ``same_columns``, but 1 and 1.0 are two
    values."""
    if isinstance(a, Tagged):
        assert isinstance(b, Tagged)
        b = in_table(b, a.strings)
        result: Bools = (a.tags == b.tags) & (a.bits == b.bits)
        return result
    return same_columns(a, b)


def same_columns(a: Values, b: Values) -> Bools:
    """Pointwise sameness of two columns of one layout and, for Linear, one start each."""
    if isinstance(a, Flags):
        assert isinstance(b, Flags)
        result: Bools = a.data == b.data
        return result
    if isinstance(a, Tagged):
        assert isinstance(b, Tagged)
        return same_tagged(a, in_table(b, a.strings))
    assert isinstance(b, Linear)
    result = (a.known == b.known) & ((a.num == b.num) & (a.slope == b.slope)).astype(np.bool_)
    return result
