"""Columns as they were read, before any rule is applied: every value has a tag, also one no column takes.

Decoding makes one ``RawColumn`` per field, whatever the input was; the rules then work on tags, for all
events at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import compress, repeat
from typing import Any, Final

import numpy as np
from msgspec import UnsetType

from timeline_workers.columns.values import (
    BOOL,
    FLOAT,
    INT,
    STRING,
    UNKNOWN,
    Bools,
    Int64,
    StringTable,
    UInt8,
)

# Beyond the tags of ``columns.values``: what an event can hold and a column cannot.
OTHER: Final = 5  # an array, an object, bytes …
MOMENT: Final = 6  # a date or timestamp; ``bits`` are microseconds where the input knew them
HUGE: Final = 7  # an int beyond 64 bits
NOT_FINITE: Final = 8

TAG_NAMES: Final = {
    BOOL: "a bool",
    INT: "an int",
    FLOAT: "a float",
    STRING: "a string",
    OTHER: "an array or object",
    MOMENT: "a timestamp",
    HUGE: "an int beyond 64 bits",
    NOT_FINITE: "not a finite number",
}
_TAG_OF_TYPE: Final[dict[type, int]] = {
    type(None): UNKNOWN,
    UnsetType: UNKNOWN,
    bool: BOOL,
    int: INT,
    float: FLOAT,
    str: STRING,
}
_TEXT_OR_NOTHING: Final = {str, UnsetType, type(None)}


class HugeInt:
    """Stands for an int of so many digits that only its being too large matters."""

    def __repr__(self) -> str:
        return "an int beyond 64 bits"


@dataclass(slots=True)
class RawColumn:
    """N tagged values. ``tags``: uint8[N]; ``bits``: int64[N], as in ``Tagged`` (0 for the tags beyond it,
    microseconds for MOMENT); ``value(i)``: the original, for messages and rare cases.
    """

    tags: UInt8
    bits: Int64
    strings: StringTable
    value: Callable[[int], Any]

    @staticmethod
    def missing(count: int) -> RawColumn:
        """A column that no event has."""
        return RawColumn(np.zeros(count, np.uint8), np.zeros(count, np.int64), StringTable(), lambda _: None)

    @staticmethod
    def of(values: Sequence[Any]) -> RawColumn:
        """Tag Python values; None and msgspec's UNSET are unknown."""
        count = len(values)
        kinds = set(map(type, values))
        if kinds <= _TEXT_OR_NOTHING:
            return _of_texts(values)
        if kinds == {int}:
            with suppress(OverflowError):
                bits = np.array(values, np.int64)
                return RawColumn(np.full(count, INT, np.uint8), bits, StringTable(), values.__getitem__)
        tags = np.fromiter(map(_TAG_OF_TYPE.get, map(type, values), repeat(OTHER)), np.uint8, count)
        present = np.bincount(tags, minlength=OTHER + 1).tolist()
        bits = np.zeros(count, np.int64)
        strings = StringTable()

        def rows_of(tag: int) -> tuple[Bools | slice, Sequence[Any]]:
            if present[tag] == count:
                return slice(None), values
            rows = tags == tag
            return rows, list(compress(values, rows.tolist()))

        if present[OTHER]:
            return _with_odd_types(values, tags)
        if present[BOOL]:
            rows, some = rows_of(BOOL)
            bits[rows] = np.array(some, np.bool_)
        if present[FLOAT]:
            rows, some = rows_of(FLOAT)
            numbers = np.array(some, np.float64)
            bits[rows], tags[rows] = float_bits(numbers)
        if present[STRING]:
            rows, some = rows_of(STRING)
            strings.names.extend(dict.fromkeys(some))
            bits[rows] = np.fromiter(map(strings.index.__getitem__, some), np.int64, len(some))
        if present[INT]:
            rows, some = rows_of(INT)
            try:
                bits[rows] = np.array(some, np.int64)
            except OverflowError:
                fits = np.array([-(2**63) <= v < 2**63 for v in some])
                bits[rows] = [v if ok else 0 for v, ok in zip(some, fits.tolist(), strict=True)]
                tags[rows] = np.where(fits, INT, HUGE)
        return RawColumn(tags, bits, strings, values.__getitem__)


def _of_texts(values: Sequence[Any]) -> RawColumn:
    """The column of values that are strings or unknown: no other kind, so that equal ones are the same."""
    names = [name for name in dict.fromkeys(values) if type(name) is str]
    index = dict(zip(names, range(len(names)), strict=True))
    codes = np.fromiter(map(index.get, values, repeat(-1)), np.int64, len(values))
    tags = np.where(codes < 0, UNKNOWN, STRING).astype(np.uint8)
    return RawColumn(tags, np.maximum(codes, 0), StringTable(names), values.__getitem__)


def float_bits(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Int64, UInt8]:
    """Return the bits and tags of floats: -0.0 becomes 0.0; what is not finite has bits 0."""
    finite = np.isfinite(numbers)
    bits = np.where(finite, numbers + 0.0, 0.0).view(np.int64)
    return bits, np.where(finite, FLOAT, NOT_FINITE).astype(np.uint8)


def plain(value: Any) -> Any:
    """Return ``value`` as exactly None, bool, int, float or str where it means one, else as it is.

    NumPy scalars, subclasses such as enumerations, and the missing values of pandas are such.
    """
    if type(value) in _TAG_OF_TYPE:
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    for exact in (int, float, str):
        if isinstance(value, exact):
            return exact(value)
    return value


def _with_odd_types(values: Sequence[Any], tags: UInt8) -> RawColumn:
    odd = np.flatnonzero(tags == OTHER).tolist()
    cleaned = list(values)
    final: dict[int, int] = {}
    for row in odd:
        value = plain(values[row])
        if type(value) in _TAG_OF_TYPE:
            cleaned[row] = value
            continue
        cleaned[row] = None
        final[row] = HUGE if isinstance(value, HugeInt) else MOMENT if isinstance(value, date) else OTHER
    column = RawColumn.of(cleaned)
    for row, tag in final.items():
        column.tags[row] = tag
    column.value = values.__getitem__
    return column
