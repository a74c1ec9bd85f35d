"""``event_count(p)``: the number of matching events so far."""

from __future__ import annotations

import numpy as np

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.rows import order, row_keys
from timeline_workers.columns.values import INT, Int64, StringTable, Tagged

from .kernels import over_events
from .recompute import RecomputeRequest


def counts(key: Int64, starts: Int64, deltas: Int64, begin: Int64, request: RecomputeRequest) -> Timeline:
    """Step counts: ``begin`` (one a key) at the request's start, then plus each delta at its instant."""
    all_keys = np.concatenate([request.key_numbers, key])
    all_starts = np.concatenate([request.froms, starts])
    all_deltas = np.concatenate([begin, deltas])
    early = all_starts < request.froms[all_keys]
    all_starts[early] = request.froms[all_keys][early]
    rows = order(all_keys, all_starts)
    all_keys, all_deltas = all_keys[rows], all_deltas[rows]
    totals = np.cumsum(all_deltas)
    ends_before = np.zeros(request.keys + 1, np.int64)
    np.cumsum(np.bincount(all_keys, minlength=request.keys), out=ends_before[1:])
    previous = np.concatenate([[0], totals])[ends_before[:-1]]
    bits = totals - previous[all_keys]
    values = Tagged(np.full(len(bits), INT, np.uint8), bits, StringTable())
    return pieces.canonical(request.keys, all_keys, all_starts[rows], values)


class EventCount:
    """Numeric without slope: an int, 0 at the origin unless an event matches there."""

    layout = "tagged"
    lookback = 0
    keeps_first = False

    def apply(self, events: EventLog, request: RecomputeRequest) -> Timeline:
        """See ``EventOperator``."""
        begin = np.zeros(request.keys, np.int64)
        if request.before is not None:
            assert isinstance(request.before, Tagged)
            begin = np.where(request.fresh, 0, request.before.bits)
        return counts(row_keys(events.offsets), events.times, np.ones(len(events), np.int64), begin, request)


over_events("event_count", lambda node: EventCount())
