"""``duration_in_cur_state(x)``: time since the last change of x (CIDR 2023, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.values import Linear

from .kernels import over_timelines
from .recompute import RecomputeRequest


class DurationInCurState:
    """Numeric, exact: ``t - max(origin, last change of x)``, slope 1; unknown while x is.

    A timeline's rows are its changes, so each input row starts the count anew.
    """

    layout = "linear"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        known = operations.known(x.values)
        values = Linear(known, np.zeros(len(known), np.int64), known.astype(np.int64))
        return pieces.compact(x.offsets, x.starts, values)


over_timelines("duration_in_cur_state", lambda node: DurationInCurState())
