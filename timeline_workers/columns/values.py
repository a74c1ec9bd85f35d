"""Columns of values: what a timeline's change points and an event's columns hold.

Three layouts, all NumPy, all immutable by convention (no function changes an array it was given):

``Flags``   booleans, never unknown: Boolean timelines.
``Tagged``  a type tag and 64 bits each: State timelines, event columns, and Numeric timelines without
            slope (counts, sums of columns). Numbers behave as Python's ``int`` and ``float`` do; an int
            that leaves 64 bits becomes a float.
``Linear``  exact numbers with a slope: Numeric timelines made from durations. Held in millionths
            (a duration of 1 s is 1_000_000) as int64, or as ``fractions.Fraction`` objects where that is
            not exact. A slope of 1 is one unit per second.

NumPy was chosen by measurement (``python -m benchmarks columns``). To merge two timelines of a thousand
change points each, carry values forward and AND them takes it 0.3 ms, Polars 2.5 and Arrow 0.8; with a
million each it is 81, 84 and 151 ms. Updates are mostly small, and exact numbers need Python objects in a
column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Int64: TypeAlias = NDArray[np.int64]
UInt8: TypeAlias = NDArray[np.uint8]
Bools: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.int64] | NDArray[np.object_]
Scalar: TypeAlias = bool | int | float | str

UNKNOWN, BOOL, INT, FLOAT, STRING = 0, 1, 2, 3, 4
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(slots=True)
class StringTable:
    """An append-only dictionary of strings; a code, once given, keeps its meaning."""

    names: list[str] = field(default_factory=list)
    _index: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _indexed: int = field(default=0, init=False, repr=False, compare=False)

    @property
    def index(self) -> dict[str, int]:
        """The code of every string; not to be changed. Many a table is never asked for it."""
        first, count = self._indexed, len(self.names)
        if first < count:
            self._index.update(zip(self.names[first:], range(first, count), strict=True))
            self._indexed = count
        return self._index

    def intern(self, name: str) -> int:
        """Return the code of ``name``, adding it when it is new."""
        index = self.index
        code = index.get(name)
        if code is None:
            code = index[name] = len(self.names)
            self.names.append(name)
        return code

    def intern_all(self, names: Iterable[str]) -> Int64:
        """Return the codes of ``names`` as int64."""
        return np.fromiter((self.intern(n) for n in names), np.int64)


@dataclass(frozen=True, slots=True)
class Flags:
    """Booleans, never unknown. ``data``: bool[N]."""

    data: Bools

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Tagged:
    """Typed scalars. ``tags``: uint8[N], one of UNKNOWN..STRING; ``bits``: int64[N].

    ``bits`` is 0/1 for BOOL, the number for INT, the IEEE bits for FLOAT, the code in ``strings`` for STRING
    and 0 for UNKNOWN.
    """

    tags: UInt8
    bits: Int64
    strings: StringTable

    def __len__(self) -> int:
        return len(self.tags)

    @staticmethod
    def of(values: Sequence[Scalar | None], strings: StringTable | None = None) -> Tagged:
        """Build from Python values; None is unknown.

        Raises OverflowError for an int beyond 64 bits and TypeError for any other type.
        """
        table = StringTable() if strings is None else strings
        tags = np.zeros(len(values), np.uint8)
        bits = np.zeros(len(values), np.int64)
        for i, value in enumerate(values):
            if value is None:
                continue
            tags[i], bits[i] = encode_scalar(value, table)
        return Tagged(tags, bits, table)

    def item(self, i: int) -> Scalar | None:
        """The Python value at ``i``."""
        tag, bits = int(self.tags[i]), int(self.bits[i])
        if tag == UNKNOWN:
            return None
        if tag == BOOL:
            return bool(bits)
        if tag == INT:
            return bits
        if tag == FLOAT:
            return float(np.int64(bits).view(np.float64))
        return self.strings.names[bits]


def encode_scalar(value: Scalar, strings: StringTable) -> tuple[int, int]:
    """Return the (tag, bits) of one Python value; -0.0 is held as 0.0.

    Raises OverflowError for an int beyond 64 bits and TypeError for a type no column can hold.
    """
    if isinstance(value, bool):
        return BOOL, int(value)
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise OverflowError(f"{value} does not fit 64 bits")
        return INT, value
    if isinstance(value, float):
        return FLOAT, int(np.float64(value + 0.0).view(np.int64))
    if isinstance(value, str):
        return STRING, strings.intern(value)
    raise TypeError(f"a column holds bool, int, float or string, not {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class Linear:
    """Exact piecewise-linear values. ``known``: bool[N]; ``num``: value x 10**6 at the piece's start;
    ``slope``: units per second. ``num`` and ``slope`` are int64[N], or object[N] of ``Fraction``; both 0
    where unknown.
    """

    known: Bools
    num: Numbers
    slope: Numbers

    def __len__(self) -> int:
        return len(self.known)


Values: TypeAlias = Flags | Tagged | Linear
