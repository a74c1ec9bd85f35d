"""``x + y``, ``-``, ``*``, ``/``: Numeric, pointwise; unknown where a side is unknown or a divisor is 0."""

from __future__ import annotations

from collections.abc import Sequence

from timeline_workers.algebra.timeline import exact, numbers, pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Linear, Values
from timeline_workers.language.operator_table import is_exact
from timeline_workers.language.tree import ArithmeticOperator

from .kernels import constant, over_timelines
from .operands import Constant, common_pieces, tagged
from .recompute import RecomputeRequest


class Arithmetic:
    """Numeric: exact (with slope) when ``is_exact``, as Python numbers else; a side given as None is the
    next input."""

    lookback = 0

    def __init__(
        self,
        operator: ArithmeticOperator,
        is_exact: bool,
        left: Constant | None = None,
        right: Constant | None = None,
    ) -> None:
        self.operator: ArithmeticOperator = operator
        self.layout = "linear" if is_exact else "tagged"
        self.left = left
        self.right = right

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        """See ``TimelineOperator``."""
        sides = common_pieces(self.left, self.right, inputs)
        values: Values
        if self.layout == "linear":
            values = self._exact(exact.lift(sides.left), exact.lift(sides.right))
        else:
            values = numbers.arithmetic(self.operator, tagged(sides.left), tagged(sides.right))
        return pieces.compact(sides.offsets, sides.starts, values)

    def _exact(self, left: Linear, right: Linear) -> Linear:
        if self.operator == "+":
            return exact.combine(left, right, 1)
        if self.operator == "-":
            return exact.combine(left, right, -1)
        if self.operator == "/":
            return exact.divide(left, right)
        return exact.multiply(left, right) if not _slopes(right) else exact.multiply(right, left)


def _slopes(values: Linear) -> bool:
    return bool((values.slope != 0).any())


over_timelines(
    "arithmetic",
    lambda node: Arithmetic(node.operator, is_exact(node), constant(node.left), constant(node.right)),
)
