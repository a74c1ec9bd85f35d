"""``has_existed_within(p, d)`` and ``has_existed_within(x, d)``: True for d after each match (CIDR 2023,
Table 1).

A match at ``e`` is True on ``[e, e+d)``, a True span ``[a, b)`` on ``[a, b+d)``; overlapping and touching
windows are merged. The end of a window is a change point like any other, written when the match is: no
timer is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.rows import FOREVER, next_starts, offsets_of, row_keys
from timeline_workers.columns.values import Flags, Int64

from .kernels import over_events, over_timelines
from .recompute import RecomputeRequest


def merged_windows(key: Int64, begins: Int64, ends: Int64, request: RecomputeRequest) -> Timeline:
    """False except on the given windows of the request's keys; begins and ends both ascend within a key."""
    same_key = key[1:] == key[:-1]
    apart = np.ones(len(key) + 1, np.bool_)
    if len(key):
        apart[1:-1] = ~same_key | (begins[1:] > ends[:-1])
    opens = np.flatnonzero(apart[:-1]) if len(key) else np.zeros(0, np.int64)
    closes = np.flatnonzero(apart[1:]) if len(key) else np.zeros(0, np.int64)
    ended = ends[closes] != FOREVER  # all but perhaps a key's last
    # Per key: False from the beginning unless a window opens there, then True and False in turns.
    opened = offsets_of(key[opens], request.keys)
    first = opened[:-1][np.diff(opened) > 0]
    led_in = np.ones(request.keys, np.bool_)
    led_in[key[opens[first]]] = begins[opens[first]] > request.froms[key[opens[first]]]
    lengths = led_in + np.diff(opened) + np.bincount(key[closes[ended]], minlength=request.keys)
    offsets = np.zeros(request.keys + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    starts, flags = np.empty(int(offsets[-1]), np.int64), np.zeros(int(offsets[-1]), np.bool_)
    starts[offsets[:-1][led_in]] = request.froms[led_in]
    places = np.repeat(offsets[:-1] + led_in - 2 * opened[:-1], np.diff(opened)) + 2 * np.arange(len(opens))
    starts[places], flags[places] = begins[opens], True
    starts[places[ended] + 1] = ends[closes[ended]]
    return pieces.compact(offsets, starts, Flags(flags))


class EventHasExistedWithin:
    """Boolean: some matching event in ``(t - within, t]``; ``within`` in microseconds."""

    layout = "flags"
    keeps_first = False

    def __init__(self, within: int) -> None:
        self.lookback = within

    def apply(self, events: EventLog, request: RecomputeRequest) -> Timeline:
        """See ``EventOperator``."""
        return merged_windows(row_keys(events.offsets), events.times, events.times + self.lookback, request)


class HasExistedWithin:
    """Boolean: the input was True at some instant in ``(t - within, t]``; ``within`` in microseconds."""

    layout = "flags"

    def __init__(self, within: int) -> None:
        self.lookback = within

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        assert isinstance(x.values, Flags)
        ends = next_starts(x.offsets, x.starts)
        rows = np.flatnonzero(x.values.data)
        ends = ends[rows]
        ends = np.where(ends == FOREVER, FOREVER, ends + np.where(ends == FOREVER, 0, self.lookback))
        return merged_windows(row_keys(x.offsets)[rows], x.starts[rows], ends, request)


over_events("has_existed_within", lambda node: EventHasExistedWithin(node.within))
over_timelines("has_existed_within", lambda node: HasExistedWithin(node.within))
