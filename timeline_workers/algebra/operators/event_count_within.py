"""``event_count_within(p, d)``: the number of matching events in ``(t-d, t]``."""

from __future__ import annotations

import numpy as np

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.rows import row_keys

from .event_count import counts
from .kernels import over_events
from .recompute import RecomputeRequest


class EventCountWithin:
    """Numeric without slope: an int that an event raises at ``e`` and lowers again at ``e + within``."""

    layout = "tagged"
    keeps_first = False

    def __init__(self, within: int) -> None:
        self.lookback = within

    def apply(self, events: EventLog, request: RecomputeRequest) -> Timeline:
        """See ``EventOperator``."""
        key = row_keys(events.offsets)
        ones = np.ones(len(events), np.int64)
        return counts(
            np.concatenate([key, key]),
            np.concatenate([events.times, events.times + self.lookback]),
            np.concatenate([ones, -ones]),
            np.zeros(request.keys, np.int64),
            request,
        )


over_events("event_count_within", lambda node: EventCountWithin(node.within))
