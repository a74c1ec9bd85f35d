"""The checker of expressions over the columns of one event: types, before any event is seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn
from zoneinfo import ZoneInfo, available_timezones

from timeline_workers.errors import ExpressionError, MetricError

from . import tree as t
from .kinds import ValueType, type_of
from .lexicon import column_text
from .scalar_parser import scalar_text
from .scalar_table import AMONG, SCALARS, ScalarFunction
from .suggestions import nearest

_A = {"bool": "true or false", "number": "a number", "string": "a string"}


def check_scalar(
    expression: t.Expression, columns: Mapping[str, ValueType], *, text: str, condition: bool = False
) -> ValueType:
    """The type of ``expression`` over ``columns``; ``condition``: it has to be true or false, by an event.

    ``text`` is what it was parsed from. Raises ExpressionError with the place.
    """
    checker = _ScalarChecker(columns, text)
    found = checker.visit(expression)
    if condition:
        if found != "bool":
            shown = scalar_text(expression)
            hint = "compare it, as in x > 0" if len(shown) > 40 else f"compare it, as in {shown} == ..."
            checker.fail(f"this is {_A[found]}, and a condition is true or false", expression, hint)
        if isinstance(expression, t.Literal):
            checker.fail("a condition looks at the event, and this is a constant", expression)
    return found


@lru_cache(maxsize=256)
def linear_pattern(pattern: str) -> Any:
    """A regular expression that takes time in proportion to the text: RE2's. Raises ValueError where it is
    none, and MetricError where the library is not there."""
    try:
        import re2
    except ImportError:
        raise MetricError("matches needs RE2; install the extra: timeline-workers[re2]") from None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        raise ValueError(said.decode() if isinstance(said, bytes) else said) from None


class _ScalarChecker:
    def __init__(self, columns: Mapping[str, ValueType], text: str) -> None:
        self._columns = columns
        self._text = text

    def fail(self, message: str, at: t.Expression, hint: str = "") -> NoReturn:
        raise ExpressionError(message, text=self._text, span=at.span, hint=hint)

    def visit(self, node: t.Expression) -> ValueType:  # noqa: RET503 - fail() never returns
        """The type of ``node``."""
        match node:
            case t.Literal():
                return type_of(node.value)
            case t.Column():
                return self._column(node)
            case t.And() | t.Or() | t.Not():
                for operand in node.children():
                    self._require(operand, "bool", {"and": "&&", "or": "||"}.get(node.op, "!"))
                return "bool"
            case t.Arithmetic():
                self._require(node.left, "number", node.operator)
                self._require(node.right, "number", node.operator)
                if isinstance(node.right, t.Literal) and node.right.value == 0 and node.operator == "/":
                    self.fail("this divides by 0", node.right)
                return "number"
            case t.Compare():
                return self._compare(node)
            case t.Call():
                return self._among(node) if node.function == AMONG else self._call(node)
        self.fail("this is a timeline, and here is one event at a time", node)

    def _column(self, node: t.Column) -> ValueType:
        if node.name not in self._columns:
            near = nearest(node.name, self._columns)
            known = ", ".join(map(column_text, self._columns)) or "none"
            hint = f"did you mean {column_text(near)}?" if near else f"its columns are {known}"
            self.fail(f"there is no column {column_text(node.name)} here", node, hint)
        return self._columns[node.name]

    def _require(self, node: t.Expression, wanted: str, by: str) -> None:
        found = self.visit(node)
        if found != wanted:
            self.fail(f"{by} needs {_A[wanted]}, and this is {_A[found]}", node)

    def _compare(self, node: t.Compare) -> ValueType:
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.left, t.Literal) and isinstance(node.right, t.Literal):
            self.fail("this compares two constants", node, "one side has to be a column")
        if left != right:
            self.fail(f"this compares {_A[left]} with {_A[right]}", node)
        if left == "bool" and node.operator not in ("==", "!="):
            self.fail("true and false have no order", node, "compare with == or !=")
        return "bool"

    def _among(self, node: t.Call) -> ValueType:
        of = self.visit(node.operands[0])
        for value in node.operands[1:]:
            if (found := self.visit(value)) != of:
                self.fail(f"this is {_A[found]}, and what is looked for is {_A[of]}", value)
        return "bool"

    def _call(self, node: t.Call) -> ValueType:
        row = SCALARS[node.function]
        same: ValueType | None = None
        for place, operand in enumerate(node.operands):
            takes = row.takes[min(place, len(row.takes) - 1)]
            if takes == "same":
                found = self.visit(operand)
                same = same or found
                if found != same:
                    self.fail(f"{row.name} gives {_A[same]}, and this is {_A[found]}", operand)
            elif takes == "any":
                self.visit(operand)
            else:
                self._require(operand, takes, row.name)
            if place in row.constants:
                self._constant(row, place, operand)
        if row.gives == "same":
            assert same is not None
            return same
        return row.gives

    def _constant(self, row: ScalarFunction, place: int, operand: t.Expression) -> None:
        if not isinstance(operand, t.Literal):
            self.fail(f"{row.name} takes a constant here", operand, row.doc)
        value = operand.value
        whole = isinstance(value, int) and not isinstance(value, bool)
        match row.name:
            case "round" if not (whole and 0 <= int(value) <= 15):
                self.fail("round takes 0 to 15 digits", operand, row.doc)
            case "bucket" if not (whole and int(value) >= 1):
                self.fail("bucket needs a whole number of buckets, 1 or more", operand, row.doc)
            case "split" if place == 1 and value == "":
                self.fail("split needs something to split at", operand, row.doc)
            case "split" if place == 2 and not (whole and value != 0):
                self.fail("split counts its parts from 1, or from -1 backwards", operand, row.doc)
            case "matches":
                self._pattern(str(value), operand)
            case "hour_of_day" | "day_of_week":
                self._zone(str(value), operand)

    def _pattern(self, pattern: str, operand: t.Expression) -> None:
        try:
            linear_pattern(pattern)
        except ValueError as error:
            self.fail(f"this is no regular expression of RE2: {error}", operand, "it has no look-around")

    def _zone(self, zone: str, operand: t.Expression) -> None:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            near = nearest(zone, sorted(available_timezones()))
            hint = f"did you mean {near}?" if near else "zones have names such as Europe/Berlin"
            self.fail(f"there is no time zone {zone!r:.60}", operand, hint)
