"""Events in columns: what decoding gives and what leaves take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .key_table import Key
from .values import Int64, Tagged


@dataclass(frozen=True, slots=True)
class Positions:
    """Where events stand in their source; unique, and ordered by (partition, major, minor).

    Within a partition ``(major, minor)`` is the offset: for Pulsar the ledger id and
    ``entry id * 2**16 + batch index``; for a file 0 and the place in the input.
    """

    partition: NDArray[np.int32]
    major: Int64
    minor: Int64

    def __len__(self) -> int:
        return len(self.minor)

    @staticmethod
    def in_input(first: int, count: int) -> Positions:
        """The places ``first … first + count - 1`` of one file, table or list."""
        return Positions(
            np.broadcast_to(np.int32(0), (count,)),
            np.broadcast_to(np.int64(0), (count,)),
            np.arange(first, first + count, dtype=np.int64),
        )

    def backwards(self) -> Positions:
        """The same places counted from the end of an input of any length: the order is reversed."""
        return Positions(self.partition, self.major, -1 - self.minor)

    def ascend_by_one(self) -> bool:
        """Whether these are ``in_input(first, len(self))`` for some ``first``, and at least one."""
        minor = self.minor
        if not len(minor) or self.partition.strides != (0,) or self.major.strides != (0,):
            return False
        return bool(minor[-1] - minor[0] == len(minor) - 1 and (minor[1:] > minor[:-1]).all())

    def successive(self, rows: Int64) -> Positions:
        """The positions of ``rows``, where these ``ascend_by_one``: they need not be read."""
        count = len(rows)
        return Positions(
            _taken(self.partition, rows, count), _taken(self.major, rows, count), rows + self.minor[0]
        )

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Positions:
        """The positions of ``rows``."""
        minor = self.minor[rows]
        return Positions(
            _taken(self.partition, rows, len(minor)), _taken(self.major, rows, len(minor)), minor
        )


def _taken(column: Any, rows: Any, count: int) -> Any:
    """``column[rows]``, held once where the column is one number that is held once."""
    if column.strides == (0,) and len(column):
        return np.broadcast_to(column[0], (count,))
    return column[rows]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """N valid events in any order.

    ``keys``: the distinct keys; ``key``: int32[N], index into ``keys``; ``time``: int64[N], event time in
    microseconds; ``columns``: by column name, N values each (a missing or null column is unknown).
    """

    keys: list[Key]
    key: NDArray[np.int32]
    time: Int64
    position: Positions
    columns: dict[str, Tagged]

    def __len__(self) -> int:
        return len(self.time)
