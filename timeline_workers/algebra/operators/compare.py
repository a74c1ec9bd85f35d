"""``x == c``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` and the same between two timelines.

False wherever a side is unknown. Numeric sides are exact: where a sloping side crosses the other between
events, a new piece starts at the crossing (or at the next whole microsecond).
"""

from __future__ import annotations

from collections.abc import Sequence

from timeline_workers.algebra.timeline import exact, numbers, pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.rows import row_keys
from timeline_workers.columns.values import Flags, Int64, Linear, Tagged
from timeline_workers.language.tree import CompareOperator

from .kernels import constant, over_timelines
from .operands import Constant, common_pieces, lengths, tagged
from .recompute import RecomputeRequest


class Compare:
    """Boolean: ``left operator right``; a side given as None is the next input."""

    layout = "flags"
    lookback = 0

    def __init__(
        self, operator: CompareOperator, left: Constant | None = None, right: Constant | None = None
    ) -> None:
        self.operator: CompareOperator = operator
        self.left = left
        self.right = right

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        sides = common_pieces(self.left, self.right, inputs)
        if isinstance(sides.left, Linear) or isinstance(sides.right, Linear):
            return self._lines(row_keys(sides.offsets), sides.starts, sides.left, sides.right, request)
        flags = numbers.compare(self.operator, tagged(sides.left), tagged(sides.right))
        return pieces.compact(sides.offsets, sides.starts, Flags(flags))

    def _lines(
        self,
        key: Int64,
        starts: Int64,
        left: Tagged | Flags | Linear,
        right: Tagged | Flags | Linear,
        request: RecomputeRequest,
    ) -> Timeline:
        difference = exact.combine(exact.lift(left), exact.lift(right), -1)
        row, shift, sign = exact.sign_pieces(difference, lengths(key, starts))
        flags = numbers.holds(self.operator, sign) & operations.known(difference)[row]
        return pieces.canonical(request.keys, key[row], starts[row] + shift, Flags(flags))


over_timelines("compare", lambda node: Compare(node.operator, constant(node.left), constant(node.right)))
