"""``latest_event_to_state(column)``: the value of the column in the last event that has it (CIDR 2023,
Table 1)."""

from __future__ import annotations

import numpy as np

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.rows import led
from timeline_workers.columns.values import Tagged

from .recompute import Window


class LatestEventToState:
    """State. Of two events at one instant the later position counts; unknown before the first."""

    layout = "tagged"
    lookback = 0
    keeps_first = False

    def apply(self, events: EventLog, window: Window) -> Timeline:
        """See ``EventOperator``."""
        assert events.values is not None
        carried = operations.unknown_tagged(window.keys, events.values.strings)
        if window.before is not None:
            assert isinstance(window.before, Tagged)
            before = operations.in_table(window.before, events.values.strings)
            carried = Tagged(
                np.where(window.fresh, carried.tags, before.tags),
                np.where(window.fresh, carried.bits, before.bits),
                events.values.strings,
            )
        needed = np.ones(window.keys, np.bool_)
        begun = np.flatnonzero(np.diff(events.offsets))
        needed[begun] = events.times[events.offsets[begun]] > window.froms[begun]
        if not needed.any():
            return pieces.compact(events.offsets, events.times, events.values)
        offsets, heads, others = led(events.offsets, needed)
        starts, bits = (np.empty(int(offsets[-1]), np.int64) for _ in range(2))
        tags = np.empty(len(bits), np.uint8)
        starts[heads], starts[others] = window.froms[needed], events.times
        tags[heads], tags[others] = carried.tags[needed], events.values.tags
        bits[heads], bits[others] = carried.bits[needed], events.values.bits
        return pieces.compact(offsets, starts, Tagged(tags, bits, events.values.strings))
