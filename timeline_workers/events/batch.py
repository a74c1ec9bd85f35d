"""Events in columns: what decoding gives and what leaves take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..algebra.timelines import Key
from ..algebra.values import Int64, Tagged


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
            np.zeros(count, np.int32),
            np.zeros(count, np.int64),
            np.arange(first, first + count, dtype=np.int64),
        )

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Positions:
        """The positions of ``rows``."""
        return Positions(self.partition[rows], self.major[rows], self.minor[rows])


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
