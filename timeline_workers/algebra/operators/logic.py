"""``x && y``, ``x || y`` and ``!x``: pointwise on Booleans."""

from __future__ import annotations

from collections.abc import Sequence

from .. import pieces
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
        common = pieces.refine(inputs)
        left, right = common.rows
        flags = _flags(inputs[0])[left] & _flags(inputs[1])[right]
        return pieces.compact(common.offsets, common.starts, Flags(flags))


class Or:
    """Boolean: True where either is."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], window: Window) -> Timeline:
        """See ``TimelineOperator``."""
        common = pieces.refine(inputs)
        left, right = common.rows
        flags = _flags(inputs[0])[left] | _flags(inputs[1])[right]
        return pieces.compact(common.offsets, common.starts, Flags(flags))


class Not:
    """Boolean: the negation."""

    layout = "flags"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], window: Window) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        return Timeline(x.offsets, x.starts, Flags(~_flags(x)))
