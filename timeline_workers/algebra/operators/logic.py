"""``x && y``, ``x || y`` and ``!x``: pointwise on Booleans."""

from __future__ import annotations

from collections.abc import Sequence

from ..flags import at_least
from ..timelines import Timeline
from ..values import Bools, Flags
from .window import Window


def _flags(timeline: Timeline) -> Bools:
    assert isinstance(timeline.values, Flags)
    return timeline.values.data


class And:
    """Boolean: True where both are."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], window: Window) -> Timeline:
        """See ``TimelineOperator``."""
        return at_least(len(inputs), inputs)


class Or:
    """Boolean: True where either is."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], window: Window) -> Timeline:
        """See ``TimelineOperator``."""
        return at_least(1, inputs)


class Not:
    """Boolean: the negation."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], window: Window) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        return Timeline(x.offsets, x.starts, Flags(~_flags(x)))
