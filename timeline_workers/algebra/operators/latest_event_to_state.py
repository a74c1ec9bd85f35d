"""``latest_event_to_state(column)``: the value of the column in the last event that has it (CIDR 2023,
Table 1)."""

from __future__ import annotations

import numpy as np

from .. import columns, pieces
from ..log import EventLog
from ..rows import order, row_keys
from ..timelines import Timeline
from ..values import Tagged
from .window import Window


class LatestEventToState:
    """State. Of two events at one instant the later position counts; unknown before the first."""

    layout = "tagged"
    lookback = 0
    keeps_first = False

    def apply(self, events: EventLog, window: Window) -> Timeline:
        """See ``EventOperator``."""
        assert events.values is not None
        carried = columns.unknown_tagged(window.keys, events.values.strings)
        if window.before is not None:
            assert isinstance(window.before, Tagged)
            before = columns.in_table(window.before, events.values.strings)
            carried = Tagged(
                np.where(window.fresh, carried.tags, before.tags),
                np.where(window.fresh, carried.bits, before.bits),
                events.values.strings,
            )
        key = np.concatenate([window.key_numbers, row_keys(events.offsets)])
        starts = np.concatenate([window.froms, events.times])
        values = columns.join(carried, events.values)
        rows = order(key, starts)
        return pieces.canonical(window.keys, key[rows], starts[rows], columns.take(values, rows))
