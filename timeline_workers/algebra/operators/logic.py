"""``x && y``, ``x || y`` and ``!x``: pointwise on Booleans."""

from __future__ import annotations

from collections.abc import Sequence

from timeline_workers.algebra.timeline.flags import at_least
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Bools, Flags

from .kernels import over_timelines
from .recompute import RecomputeRequest


def _flags(timeline: Timeline) -> Bools:
    assert isinstance(timeline.values, Flags)
    return timeline.values.data


class And:
    """Boolean: True where both are."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        return at_least(len(inputs), inputs)


class Or:
    """Boolean: True where either is."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        return at_least(1, inputs)


class Not:
    """Boolean: the negation."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        return Timeline(x.offsets, x.starts, Flags(~_flags(x)))


over_timelines("and", lambda node: And())
over_timelines("or", lambda node: Or())
over_timelines("not", lambda node: Not())
