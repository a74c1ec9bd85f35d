"""``has_existed(p)`` and ``has_existed(x)``: True from the first match on (CIDR 2023, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.rows import first_of_runs, row_keys
from timeline_workers.columns.values import Flags, Int64

from .kernels import over_events, over_timelines
from .recompute import RecomputeRequest


def _true_from(key: Int64, starts: Int64, request: RecomputeRequest) -> Timeline:
    """False from the request's start, True from each key's first of the given (sorted) instants on."""
    begin = np.zeros(request.keys, np.bool_)
    if request.before is not None:
        assert isinstance(request.before, Flags)
        begin = request.before.data & ~request.fresh
    first = np.flatnonzero(first_of_runs(key) & ~begin[key])
    rises, at = np.zeros(request.keys, np.bool_), request.froms.copy()
    rises[key[first]] = True
    at[key[first]] = np.maximum(starts[first], request.froms[key[first]])
    led_in = ~rises | (at > request.froms)
    offsets = np.zeros(request.keys + 1, np.int64)
    np.cumsum(led_in.astype(np.int64) + rises, out=offsets[1:])
    where, flags = np.empty(int(offsets[-1]), np.int64), np.ones(int(offsets[-1]), np.bool_)
    heads, rise = offsets[:-1][led_in], offsets[1:][rises] - 1
    where[heads], flags[heads] = request.froms[led_in], begin[led_in]
    where[rise], flags[rise] = at[rises], True
    return Timeline(offsets, where, Flags(flags))


class EventHasExisted:
    """Boolean: some matching event at or before t."""

    layout = "flags"
    lookback = 0
    keeps_first = True

    def apply(self, events: EventLog, request: RecomputeRequest) -> Timeline:
        """See ``EventOperator``."""
        return _true_from(row_keys(events.offsets), events.times, request)


class HasExisted:
    """Boolean: the input was True at some instant at or before t."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        assert isinstance(x.values, Flags)
        rows = np.flatnonzero(x.values.data)
        return _true_from(row_keys(x.offsets)[rows], x.starts[rows], request)


over_events("has_existed", lambda node: EventHasExisted())
over_timelines("has_existed", lambda node: HasExisted())
