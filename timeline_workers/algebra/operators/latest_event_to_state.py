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

from .kernels import over_events
from .recompute import RecomputeRequest


class LatestEventToState:
    """State. Of two events at one instant the later position counts; unknown before the first."""

    layout = "tagged"
    lookback = 0
    keeps_first = False

    def apply(self, events: EventLog, request: RecomputeRequest) -> Timeline:
        """See ``EventOperator``."""
        assert events.values is not None
        carried = operations.unknown_tagged(request.keys, events.values.strings)
        if request.before is not None:
            assert isinstance(request.before, Tagged)
            before = operations.in_table(request.before, events.values.strings)
            carried = Tagged(
                np.where(request.fresh, carried.tags, before.tags),
                np.where(request.fresh, carried.bits, before.bits),
                events.values.strings,
            )
        needed = np.ones(request.keys, np.bool_)
        begun = np.flatnonzero(np.diff(events.offsets))
        needed[begun] = events.times[events.offsets[begun]] > request.froms[begun]
        if not needed.any():
            return pieces.compact(events.offsets, events.times, events.values)
        offsets, heads, others = led(events.offsets, needed)
        starts, bits = (np.empty(int(offsets[-1]), np.int64) for _ in range(2))
        tags = np.empty(len(bits), np.uint8)
        starts[heads], starts[others] = request.froms[needed], events.times
        tags[heads], tags[others] = carried.tags[needed], events.values.tags
        bits[heads], bits[others] = carried.bits[needed], events.values.bits
        return pieces.compact(offsets, starts, Tagged(tags, bits, events.values.strings))


over_events("latest_event_to_state", lambda node: LatestEventToState())
