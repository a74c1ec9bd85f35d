"""``x since y``: True from an instant at which both are, for as long as x then stays True.

For each True span ``[c, e)`` of x and ``[a, b)`` of y that overlap, True on ``[max(a, c), e)``. So with x a
weak condition and y a strong one it is a switch with hysteresis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.rows import row_keys
from timeline_workers.columns.values import Flags

from .kernels import over_timelines
from .recompute import RecomputeRequest


class Since:
    """Boolean: the first input is True, and has been since the second was.

    Where y is True it is what x is, where x is not it is False, and elsewhere what it was before.
    """

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        common = pieces.refine(inputs)
        left, right = (timeline.values for timeline in inputs)
        assert isinstance(left, Flags)
        assert isinstance(right, Flags)
        x, y = left.data[common.rows[0]], right.data[common.rows[1]]
        key = row_keys(common.offsets)
        begin = np.zeros(request.keys, np.bool_)
        if request.before is not None:
            assert isinstance(request.before, Flags)
            begin = request.before.data & ~request.fresh
        # Of each piece the last up to it that says something new; before the key's first: what it was.
        settled = np.maximum.accumulate(np.where(y | ~x, np.arange(len(key), dtype=np.int64), -1))
        told = settled >= common.offsets[:-1][key]
        flags = np.where(told, x[settled], x & begin[key])
        return pieces.compact(common.offsets, common.starts, Flags(flags))


over_timelines("since", lambda node: Since())
