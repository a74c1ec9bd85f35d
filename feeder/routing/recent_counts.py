"""Counts of the last minute of a source partition: events applied, refused and ahead of their clocks. No
I/O.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.values import Bools, Int64

SECONDS = 60


class Recent:
    """Counts by publish time, over the minute before the latest message that was taken."""

    def __init__(self) -> None:
        self._latest = 0
        # Accepted, refused, and ahead; the latest second first.
        self._counts = np.zeros((3, SECONDS), np.int64)

    def take(self, published: Int64, accepted: Bools, refused: Bools, ahead: Bools) -> tuple[int, int, int]:
        """Take messages that were ``published`` then, microseconds, and were ``accepted`` or ``refused``, or
        neither, as watermarks are that a changelog has; some of the accepted ones had times ``ahead`` of
        that. Return how many of the last minute were accepted, refused, and ahead.
        """
        newest = int(published.max(initial=0)) // 1_000_000
        if self._latest - newest >= SECONDS:  # a clock was ahead, or has been set back: count anew
            self._latest = 0
            self._counts[:] = 0
        latest = max(self._latest, newest)
        passed = min(latest - self._latest, SECONDS)
        if passed:
            self._counts = np.roll(self._counts, passed, axis=1)
            self._counts[:, :passed] = 0
            self._latest = latest
        age = latest - published // 1_000_000
        recent = age < SECONDS
        for row, chosen in enumerate((accepted & recent, refused & recent, ahead & recent)):
            self._counts[row] += self._seconds(age[chosen])
        of_accepted, of_refused, of_ahead = self._counts.sum(axis=1).tolist()
        return of_accepted, of_refused, of_ahead

    @staticmethod
    def _seconds(age: Int64) -> NDArray[np.int64]:
        return np.bincount(age, minlength=SECONDS)
