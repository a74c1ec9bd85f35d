"""``held_for(x, d)``: x has been True for d.

A True span ``[a, b)`` that is longer than ``d`` gives ``[a+d, b)``, any other nothing. As with a window, the
instant from which it holds is written when the span begins, and taken back when x ends before: no timer is
needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.rows import next_starts, row_keys
from timeline_workers.columns.values import Flags

from .has_existed_within import merged_windows
from .kernels import over_timelines
from .recompute import RecomputeRequest


class HeldFor:
    """Boolean: the input was True on all of ``[t - held, t]``; ``held`` in microseconds."""

    layout = "flags"

    def __init__(self, held: int) -> None:
        self.lookback = held

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        assert isinstance(x.values, Flags)
        begins, ends = x.starts + self.lookback, next_starts(x.offsets, x.starts)
        rows = np.flatnonzero(x.values.data & (begins < ends))
        return merged_windows(row_keys(x.offsets)[rows], begins[rows], ends[rows], request)


over_timelines("held_for", lambda node: HeldFor(node.within))
