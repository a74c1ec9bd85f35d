"""``duration_where(x)``: how long x has been True since the origin (CIDR 2023, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.rows import FOREVER, next_starts, row_keys
from timeline_workers.columns.values import Flags, Linear

from .kernels import over_timelines
from .recompute import RecomputeRequest


class DurationWhere:
    """Numeric, exact: 0 at the origin, slope 1 while x is True."""

    layout = "linear"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        x = pieces.clip(inputs[0], request.froms)
        assert isinstance(x.values, Flags)
        begin = np.zeros(request.keys, np.int64)
        if request.before is not None:
            assert isinstance(request.before, Linear)
            begin = np.where(request.fresh, 0, request.before.num).astype(np.int64)
        ends = next_starts(x.offsets, x.starts)
        lengths = np.where(x.values.data & (ends != FOREVER), ends - x.starts, 0)
        totals = np.concatenate([[0], np.cumsum(lengths)])
        key = row_keys(x.offsets)
        num = begin[key] + totals[:-1] - totals[x.offsets[:-1]][key]
        values = Linear(np.ones(len(num), np.bool_), num, x.values.data.astype(np.int64))
        return pieces.compact(x.offsets, x.starts, values)


over_timelines("duration_where", lambda node: DurationWhere())
