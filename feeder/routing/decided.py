"""Decided: what a router has made of messages, event by event, for whoever stores verdicts. No I/O.

It is only what the router has at hand: nothing is computed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feeder.positions import Clocked, Reached
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import Bools, Int64
from timeline_workers.events.rules import Decoded


@dataclass(frozen=True, slots=True)
class Messages:
    """N messages of one topic, in order within each partition. ``published``: int64[N], microseconds.

    ``begin``: where they begin, if some take more than one entry of the broker's.
    """

    payloads: list[bytes]
    position: Positions
    published: Int64
    begin: Positions | None = None

    def __len__(self) -> int:
        return len(self.payloads)

    def take(self, rows: NDArray[np.intp]) -> Messages:
        """The messages of ``rows``."""
        return Messages(
            [self.payloads[i] for i in rows.tolist()],
            self.position.take(rows),
            self.published[rows],
            None if self.begin is None else self.begin.take(rows),
        )


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of N ``messages``. ``decoded``: of their events; ``clocked``: late or not; ``valid``:
    bool[N], not refused; ``began``: how far each partition was before them.
    """

    messages: Messages
    decoded: Decoded
    clocked: Clocked
    valid: Bools
    began: Mapping[int, Reached]
