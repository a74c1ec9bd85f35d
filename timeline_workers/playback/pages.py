"""Page: rows of a channel that were read at once, of which the windows that follow are parts. No I/O.

A question to a store has a cost of its own, and a window has 1,000 items at most: so readers ask for more,
and keep what is not due yet as it was stored.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

PAGE = 5_000  # rows that are read at once

T = TypeVar("T")


@dataclass(slots=True)
class Page(Generic[T]):
    """All rows that are due in ``[start, end)``, in order: ``dues`` says of each one when."""

    start: int
    end: int
    dues: Sequence[int]
    rows: Sequence[T]

    def has(self, instant: int) -> bool:
        """Whether it has all that is due at ``instant``."""
        return self.start <= instant < self.end

    def fills(self, start: int, to: int, limit: int) -> bool:
        """Whether it has all that is due from ``start`` to ``to``, or more than ``limit`` rows of it."""
        if not self.has(start):
            return False
        return to < self.end or len(self.dues) - bisect_left(self.dues, start) > limit

    def part(self, start: int, to: int, limit: int) -> tuple[int, Sequence[T]]:
        """The rows that are due from ``start``, which it has, to ``upto``, and that instant: ``to``, or where
        it ends, or where there are ``limit`` of them; but all rows of one instant.
        """
        end = min(to + 1, self.end)
        low = bisect_left(self.dues, start)
        high = bisect_left(self.dues, end, low)
        if high - low > limit:
            first, last = self.dues[low], self.dues[low + limit]
            end = last if first < last else first + 1
            high = bisect_left(self.dues, end, low)
        return end - 1, self.rows[low:high]
