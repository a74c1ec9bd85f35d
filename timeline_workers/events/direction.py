"""The direction of events in time: whether they run backwards, so that their order is the wrong way round.
No I/O.

Events of one key at one instant are ordered by their place in the input. In an export that has the newest
first, with times of whole minutes, that order is reversed, and answers are wrong without anything else being
odd.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Int64

_MOSTLY = 3  # steps back for one forward; events in no order have about as many of either


class Direction:
    """Counts the steps from one event to the next, in the whole input and within each key.

    Within keys steps are only counted in batches that have as many back as forward: an input in the order of
    time costs nothing but a comparison of neighbours. ``keys``: how many there may be, for the message.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._whole = np.zeros(2, np.int64)  # forward, back
        self._own = np.zeros(2, np.int64)
        self._tied: set[Key] = set()

    def add(self, keys: Sequence[Key], key: NDArray[np.int32], time: Int64) -> None:
        """Take the next events of the input: ``key`` indexes ``keys``."""
        if not len(time):
            return
        joined = time if self._last is None else np.append(self._last, time)
        self._last = int(time[-1])
        steps = _steps(joined[:-1], joined[1:])
        self._whole += steps
        if steps[0] > steps[1]:
            return
        order = np.argsort(key, kind="stable")
        of, at = key[order], time[order]
        within = np.flatnonzero(of[1:] == of[:-1])
        self._own += _steps(at[within], at[within + 1])
        tied = of[within[at[within] == at[within + 1]]]
        self._tied.update(keys[code] for code in np.unique(tied).tolist())

    @property
    def runs_backwards(self) -> bool:
        """Whether three in four steps within keys go back, or of all steps, where keys have one instant each.

        Keys that follow one another the newest first, each in the order of time, do not run backwards.
        """
        forward, back = self._own if self._own.any() else self._whole
        return bool(self._whole[1] > self._whole[0] and back > _MOSTLY * forward)

    @property
    def reversed_ties(self) -> int:
        """Of how many keys events at one instant are in the wrong order, if the input runs backwards; 0 if
        it does not, or if no key has two events at one instant: then the order does not matter.
        """
        return len(self._tied) if self.runs_backwards else 0


def _steps(before: Int64, after: Int64) -> Int64:
    return np.array([np.count_nonzero(after > before), np.count_nonzero(after < before)], np.int64)


def reversed_ties_words(tied: int, keys: int, *, newest_first: bool) -> str:
    """What to say of ``reversed_ties`` of ``keys`` keys; ``newest_first``: the input was said to be so."""
    runs = "forwards, though they were said to come newest first" if newest_first else "backwards"
    return (
        f"the events run {runs}, and {tied:,} of {keys:,} keys have several at one instant: these are taken "
        f"in the {'reversed ' if newest_first else ''}order of the input, so that what came first may count "
        "as the last"
    )
