"""The request to an operator: the rest of its timeline, for some keys, from some instant on.

Every operator is one pure function from its inputs and a ``RecomputeRequest`` to a suffix of its own
timeline. Evaluating all events at once is the same call with every key's request at its origin, so
incremental and from-scratch answers come from the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Bools, Int64, Values


@dataclass(frozen=True, slots=True)
class RecomputeRequest:
    """``froms``: int64[M], compute from here on; ``fresh``: bool[M], this is the key's origin, nothing came
    before; ``before``: M values, the operator's own output just before ``froms`` carried forward to it
    along its slope (meaningless where ``fresh``; None when every key is).
    """

    froms: Int64
    fresh: Bools
    before: Values | None

    @property
    def keys(self) -> int:
        """Number of keys asked for."""
        return len(self.froms)

    @property
    def key_numbers(self) -> Int64:
        """``0..M-1``."""
        return np.arange(len(self.froms), dtype=np.int64)


class TimelineOperator(Protocol):
    """An operator over timelines.

    ``layout`` is the value layout of its output (``flags``, ``tagged`` or ``linear``); ``lookback`` how many
    microseconds before the request its inputs still matter.
    """

    layout: str
    lookback: int

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """Return the output of the request's keys.

        ``inputs`` hold, a key each, the rows from the one that covers ``froms - lookback`` on, with their
        own starts. Rows of the result before ``froms`` are cut off by the caller.
        """
        ...


class EventOperator(Protocol):
    """An operator over the events of a leaf. Attributes as in ``TimelineOperator``; ``keeps_first``: of each
    key only the earliest event matters, whatever comes later.
    """

    layout: str
    lookback: int
    keeps_first: bool

    def apply(self, events: EventLog, request: RecomputeRequest) -> Timeline:
        """Return the output of the request's keys from their events later than ``froms - 1 - lookback``."""
        ...
