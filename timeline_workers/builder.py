"""Expressions built in Python, with the names of the text::

    from timeline_workers.builder import col, duration_where, has_existed_within, latest_event_to_state

    buffering = latest_event_to_state("playerStateChange") == "buffer"
    seeking = has_existed_within(col("userAction") == "seek", "5s")
    metric = duration_where(buffering & ~seeking).aggregate(group_by("region"), "sum", "max")

The operators are ``== != < <= > >= & | ~ + - * /``, also with a constant on the left; ``x since y`` is
``x.since(y)``. Python's own precedence holds: comparisons need parentheses beside ``&`` and ``|``.
``str(metric)`` is the text of it, and ``metric.expression`` the tree, equal to what ``parse`` makes of that
text. Kinds and types are looked at when the expression is used (``check``); what can be told at once (a NaN,
an empty name, a window of 0) is refused here, with ExpressionError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from functools import partial
from typing import Any, NoReturn, TypeAlias, cast

from timeline_workers.columns.values import INT64_MAX, INT64_MIN
from timeline_workers.language.canonical import to_text
from timeline_workers.language.durations import parse_duration
from timeline_workers.language.lexicon import AGGREGATE_FUNCTIONS, CHANGELOG_KINDS, MAX_WINDOW
from timeline_workers.language.nesting import MAX_DEPTH, too_deep
from timeline_workers.language.operator_table import OPERATORS, Operator, function_called

from .errors import ExpressionError, MetricError
from .language import tree as t

Constant: TypeAlias = bool | int | float | str | timedelta
Window: TypeAlias = str | int | float | timedelta

__all__ = [
    "Built",
    "GroupBy",
    "TL_DurationInCurState",
    "TL_DurationWhere",
    "TL_EventCount",
    "TL_EventCountWithin",
    "TL_HasExisted",
    "TL_HasExistedWithin",
    "TL_LatestEventToState",
    "changelog",
    "col",
    "duration_in_cur_state",
    "duration_where",
    "event_count",
    "event_count_within",
    "group_by",
    "has_existed",
    "has_existed_within",
    "latest_event_to_state",
]


class GroupBy:
    """The column that an aggregate groups keys by; made by ``group_by``."""

    __slots__ = ("column",)

    def __init__(self, column: str) -> None:
        self.column = _column_name(column)


class Built:
    """An expression under construction: its operators build larger ones. ``expression`` is its tree.

    ``==`` builds a comparison, so Built objects are not hashable and have no truth value: ``bool(x)``,
    ``and``, ``or``, ``not`` and chained comparisons raise ExpressionError. Compare ``x.expression`` to tell
    two apart.
    """

    __slots__ = ("_depth", "expression")

    expression: t.Expression

    def __init__(self, expression: t.Expression, depth: int = 1) -> None:
        if depth > MAX_DEPTH:
            raise too_deep(None, None)
        self.expression = expression
        self._depth = depth

    def __str__(self) -> str:
        return to_text(self.expression)

    def __repr__(self) -> str:
        return f"<Built {self}>"

    def __bool__(self) -> NoReturn:
        raise ExpressionError(
            f"{self} has no truth value: it is a timeline, not an answer",
            hint="write & for and, | for or, ~ for not, and (1 < x) & (x < 5) for a chain, in parentheses",
        )

    __hash__ = None  # type: ignore[assignment]  # == builds a comparison, so equal and hash cannot agree

    def __eq__(self, other: Built | Constant) -> Built:  # type: ignore[override]  # builds, not compares
        return _compare("==", self, other)

    def __ne__(self, other: Built | Constant) -> Built:  # type: ignore[override]  # builds, not compares
        return _compare("!=", self, other)

    def __lt__(self, other: Built | Constant) -> Built:
        return _compare("<", self, other)

    def __le__(self, other: Built | Constant) -> Built:
        return _compare("<=", self, other)

    def __gt__(self, other: Built | Constant) -> Built:
        return _compare(">", self, other)

    def __ge__(self, other: Built | Constant) -> Built:
        return _compare(">=", self, other)

    def __and__(self, other: Built) -> Built:
        return _join(lambda a, b: t.And(left=a, right=b), self, other)

    def __rand__(self, other: Constant) -> Built:
        return _join(lambda a, b: t.And(left=a, right=b), other, self)

    def __or__(self, other: Built) -> Built:
        return _join(lambda a, b: t.Or(left=a, right=b), self, other)

    def __ror__(self, other: Constant) -> Built:
        return _join(lambda a, b: t.Or(left=a, right=b), other, self)

    def __invert__(self) -> Built:
        return _over(lambda of: t.Not(of=of), self)

    def __add__(self, other: Built | Constant) -> Built:
        return _arithmetic("+", self, other)

    def __radd__(self, other: Constant) -> Built:
        return _arithmetic("+", other, self)

    def __sub__(self, other: Built | Constant) -> Built:
        return _arithmetic("-", self, other)

    def __rsub__(self, other: Constant) -> Built:
        return _arithmetic("-", other, self)

    def __mul__(self, other: Built | Constant) -> Built:
        return _arithmetic("*", self, other)

    def __rmul__(self, other: Constant) -> Built:
        return _arithmetic("*", other, self)

    def __truediv__(self, other: Built | Constant) -> Built:
        return _arithmetic("/", self, other)

    def __rtruediv__(self, other: Constant) -> Built:
        return _arithmetic("/", other, self)

    def __neg__(self) -> Built:
        return _arithmetic("-", 0, self)

    def since(self, other: Built) -> Built:
        """Return ``self since other``: True from an instant at which both are, while this one stays True."""
        row = OPERATORS["since"]
        return _join(lambda a, b: row.call([a, b]), self, other)

    def aggregate(self, group: GroupBy, *functions: str) -> Built:
        """Return ``self | aggregate(group_by(column), functions…)``; ExpressionError for a wrong function."""
        if not isinstance(group, GroupBy):
            raise ExpressionError(f"aggregate needs group_by(column) first, not {group!r}")
        if not functions:
            raise ExpressionError("aggregate needs at least one function", hint='as in "count", "sum"')
        for i, name in enumerate(functions):
            if name not in AGGREGATE_FUNCTIONS:
                raise ExpressionError(f"expected one of {', '.join(AGGREGATE_FUNCTIONS)}, not {name!r}")
            if name in functions[:i]:
                raise ExpressionError(f"{name!r} is there twice")
        chosen = cast(tuple[t.AggregateFunction, ...], functions)
        return _over(lambda of: t.Aggregate(of=of, group_by=group.column, functions=chosen), self)


def col(name: str) -> Built:
    """A column of one event, for the conditions in has_existed, has_existed_within and event_count."""
    return Built(t.Column(name=_column_name(name)))


def changelog(kind: str) -> Built:
    """What the messages of another metric's output say of a key; ``kind``: boolean, state, number (without
    slope, as a count) or numeric (with slope, as a duration).
    """
    if kind not in CHANGELOG_KINDS:
        raise ExpressionError(
            f"changelog needs the kind of the timeline that is published, not {kind!r:.60}",
            hint="one of " + ", ".join(CHANGELOG_KINDS),
        )
    return Built(t.Changelog(kind=cast(Any, kind)))


def group_by(column: str | Built) -> GroupBy:
    """The column that ``aggregate`` groups keys by."""
    return GroupBy(_column_of(column, "group_by"))


def latest_event_to_state(column: str | Built) -> Built:
    """State: the value of ``column`` in the last event that has it."""
    return Built(t.LatestEventToState(column=_column_of(column, "latest_event_to_state")))


def has_existed(of: Built) -> Built:
    """Boolean: some event satisfied the condition, or the Boolean timeline was True at some instant."""
    return _over(lambda x: t.HasExisted(of=x), of)


def has_existed_within(of: Built, within: Window) -> Built:
    """Boolean: the same within the last ``within``: "5s", a number of seconds or a timedelta."""
    window = _window(within)
    return _over(lambda x: t.HasExistedWithin(of=x, within=window), of)


def event_count(of: Built) -> Built:
    """Numeric: number of events so far that satisfy the condition."""
    return _over(lambda x: t.EventCount(of=x), of)


def event_count_within(of: Built, within: Window) -> Built:
    """Numeric: the same within the last ``within``: "5s", a number of seconds or a timedelta."""
    window = _window(within)
    return _over(lambda x: t.EventCountWithin(of=x, within=window), of)


def duration_where(of: Built) -> Built:
    """Numeric: how long the Boolean timeline has been True since the origin, in seconds."""
    return _over(lambda x: t.DurationWhere(of=x), of)


def duration_in_cur_state(of: Built) -> Built:
    """Numeric: time since the last change of the timeline, in seconds."""
    return _over(lambda x: t.DurationInCurState(of=x), of)


def __getattr__(name: str) -> Callable[..., Built]:
    """The function ``name`` of the table of operators, where this module has none of its own: its operands in
    their order, and its window last."""
    row = function_called(name)
    if row is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(_call, row)


def _call(row: Operator, *arguments: object) -> Built:
    if len(arguments) != len(row.arguments):
        raise ExpressionError(f"{row.name} takes {len(row.arguments)} arguments, not {len(arguments)}")
    column, within, operands = "", None, []
    for kind, argument in zip(row.arguments, arguments, strict=True):
        if kind == "column":
            column = _column_of(cast("str | Built", argument), row.name)
        elif kind == "window":
            within = _window(cast(Window, argument))
        else:
            operands.append(_operand(argument))
    depth = max((one._depth for one in operands), default=0) + 1
    return Built(row.call([one.expression for one in operands], column, within), depth)


TL_LatestEventToState = latest_event_to_state
TL_HasExisted = has_existed
TL_HasExistedWithin = has_existed_within
TL_EventCount = event_count
TL_EventCountWithin = event_count_within
TL_DurationWhere = duration_where
TL_DurationInCurState = duration_in_cur_state


def _column_name(name: object) -> str:
    if not isinstance(name, str):
        raise ExpressionError(f"a column name is a string, not {name!r}")
    if not name:
        raise ExpressionError("a column name cannot be empty")
    return _text(name)


def _column_of(column: str | Built, function: str) -> str:
    if isinstance(column, Built):
        if isinstance(column.expression, t.Column):
            return column.expression.name
        raise ExpressionError(
            f"{function} needs a column, not {column}", hint=f'as in {function}("userAction")'
        )
    return _column_name(column)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ExpressionError(f"{text!r} holds half of a surrogate pair, which is no character") from None
    return text


def _built(value: object) -> Built:
    if isinstance(value, Built):
        return value
    if isinstance(value, timedelta):
        microseconds = value // timedelta(microseconds=1)
        seconds = microseconds / 1_000_000
        if Fraction(repr(seconds)) * 1_000_000 != microseconds:
            raise ExpressionError(f"{value!r} cannot be told to the microsecond as a number of seconds")
        return _literal(int(seconds) if microseconds % 1_000_000 == 0 else seconds)
    if isinstance(value, bool | int | float | str):
        return _literal(value)
    raise ExpressionError(
        f"an expression cannot hold {value!r}", hint="a constant is a bool, int, float or string"
    )


def _literal(value: bool | int | float | str) -> Built:
    if isinstance(value, str):
        return Built(t.Literal(value=_text(str(value))))
    if isinstance(value, bool):
        return Built(t.Literal(value=value))
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise ExpressionError("an int constant must fit 64 bits", hint="write it as a float")
        return Built(t.Literal(value=int(value)))
    if not math.isfinite(value):
        raise ExpressionError(f"{value!r} is not a finite number")
    return Built(t.Literal(value=float(value)))


def _window(within: Window) -> int:
    exact: Fraction | int
    try:
        if isinstance(within, str):
            exact = parse_duration(within)
        elif isinstance(within, timedelta):
            exact = within // timedelta(microseconds=1)
        elif isinstance(within, int) and not isinstance(within, bool):
            exact = int(within) * 1_000_000
        elif isinstance(within, float) and math.isfinite(within):
            # The decimal that was written: 0.1 is a tenth.
            exact = Fraction(repr(float(within))) * 1_000_000
        else:
            raise ExpressionError(
                f"a window is a duration such as '5s', a number of seconds or a timedelta, not {within!r}"
            )
    except (MetricError, ValueError) as mistake:
        raise ExpressionError(str(mistake)) from None
    if exact <= 0:
        raise ExpressionError(f"a window must be longer than 0, not {within!r}")
    if exact > MAX_WINDOW:
        raise ExpressionError(f"a window cannot be longer than 10,000 years, as {within!r} is")
    if exact.denominator != 1:
        raise ExpressionError(f"a window is a whole number of microseconds, not {within!r}")
    return int(exact)


def _over(make: Callable[[t.Expression], t.Expression], of: object) -> Built:
    inner = _operand(of)
    return Built(make(inner.expression), inner._depth + 1)


def _operand(value: object) -> Built:
    built = _built(value)
    if isinstance(built.expression, t.Aggregate):
        raise ExpressionError("aggregate is the last step of an expression, not a part of one")
    return built


def _join(make: Callable[[t.Expression, t.Expression], t.Expression], left: object, right: object) -> Built:
    a, b = _operand(left), _operand(right)
    return Built(make(a.expression, b.expression), max(a._depth, b._depth) + 1)


def _compare(operator: t.CompareOperator, left: object, right: object) -> Built:
    return _join(lambda a, b: t.Compare(operator=operator, left=a, right=b), left, right)


def _arithmetic(operator: t.ArithmeticOperator, left: object, right: object) -> Built:
    return _join(lambda a, b: t.Arithmetic(operator=operator, left=a, right=b), left, right)
