"""``has_existed(p)`` and ``has_existed(x)``: True from the first match on (CIDR 2023, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import pieces
from ..log import EventLog
from ..rows import first_of_runs, order, row_keys
from ..timelines import Timeline
from ..values import Flags, Int64
from .window import Window


def _true_from(key: Int64, starts: Int64, window: Window) -> Timeline:
    """False from the window's start, True from each key's first of the given (sorted) instants on."""
    begin = np.zeros(window.keys, np.bool_)
    if window.before is not None:
        assert isinstance(window.before, Flags)
        begin = window.before.data & ~window.fresh
    first = np.flatnonzero(first_of_runs(key) & ~begin[key])
    key = np.concatenate([window.key_numbers, key[first]])
    starts = np.concatenate([window.froms, np.maximum(starts[first], window.froms[key[window.keys :]])])
    flags = np.concatenate([begin, np.ones(len(first), np.bool_)])
    rows = order(key, starts)
    return pieces.canonical(window.keys, key[rows], starts[rows], Flags(flags[rows]))


class EventHasExisted:
    """Boolean: some matching event at or before t."""

    layout = "flags"
    lookback = 0
    keeps_first = True

    def apply(self, events: EventLog, window: Window) -> Timeline:
        """See ``EventOperator``."""
        return _true_from(row_keys(events.offsets), events.times, window)


class HasExisted:
    """Boolean: the input was True at some instant at or before t."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], window: Window) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        assert isinstance(x.values, Flags)
        rows = np.flatnonzero(x.values.data)
        return _true_from(row_keys(x.offsets)[rows], x.starts[rows], window)
