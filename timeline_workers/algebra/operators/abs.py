"""``abs(x)``: the absolute value of a Numeric. A sloping one bends where it crosses zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.timeline import exact, numbers, pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.rows import row_keys
from timeline_workers.columns.values import FLOAT, INT, INT64_MIN, UNKNOWN, Linear, Tagged
from timeline_workers.language.operator_table import is_exact

from .kernels import over_timelines
from .operands import lengths, tagged
from .recompute import RecomputeRequest


class Abs:
    """Numeric, exact (with slope) when ``is_exact``; unknown where the operand is."""

    lookback = 0

    def __init__(self, is_exact: bool) -> None:
        self.layout = "linear" if is_exact else "tagged"

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        (x,) = inputs
        if isinstance(x.values, Linear):
            return _bent(x, x.values, request)
        return pieces.compact(x.offsets, x.starts, _positive(tagged(x.values)))


def _bent(x: Timeline, values: Linear, request: RecomputeRequest) -> Timeline:
    key = row_keys(x.offsets)
    row, shift, sign = exact.sign_pieces(values, lengths(key, x.starts))
    part = operations.advance(operations.take(values, row), shift)
    # On zero a line is where it is heading: the piece begins there.
    down = np.where(sign == 0, part.slope < 0, sign < 0).astype(np.bool_)
    turned = Linear(part.known, np.where(down, -part.num, part.num), np.where(down, -part.slope, part.slope))
    return pieces.canonical(request.keys, key[row], x.starts[row] + shift, turned)


def _positive(values: Tagged) -> Tagged:
    known = numbers.is_number(values)
    magnitudes = np.abs(numbers.floats(values))
    # The magnitude of the least int leaves 64 bits, and becomes a float as a sum that does.
    whole = (values.tags == INT) & (values.bits != INT64_MIN)
    tags = np.where(whole, np.uint8(INT), np.where(known, np.uint8(FLOAT), np.uint8(UNKNOWN)))
    bits = np.where(whole, np.abs(np.where(whole, values.bits, 0)), magnitudes.view(np.int64))
    return Tagged(tags.astype(np.uint8), np.where(known, bits, 0), values.strings)


over_timelines("abs", lambda node: Abs(is_exact(node)))
