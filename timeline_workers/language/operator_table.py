"""The table of operators: one row for each, from which parser, check, canonical form, plan and algebra read.

A new operator is a row here, a kernel in a module of ``timeline_workers.algebra.operators`` that registers
itself under the row's name, and a test file. Operators without a class in ``tree`` are ``tree.Call`` nodes.
``docs/language.md`` lists the rows (``python docs/generate_operators.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal as Choice, TypeAlias, cast

from timeline_workers.errors import ExpressionError

from . import tree as t
from .kinds import KindName

Argument: TypeAlias = Choice["column", "events", "condition", "boolean", "state", "number", "any", "window"]
"""What an operator takes: the name of a column; a condition on one event's columns; such a condition or a
Boolean; a Boolean; a timeline without slope; a Number; anything; a duration."""
Form: TypeAlias = Choice["operands", "ordered", "negated", "compared", "computed", "aggregated"]
"""How the canonical form is made, beyond that of the operands (``canonical``)."""


@dataclass(frozen=True, slots=True)
class Example:
    """An expression over ``docs/events.jsonl`` and its ``value`` at the second ``at``, of the only key or of
    ``group``."""

    text: str
    at: float
    value: bool | int | float | str | None
    group: bool | str = "a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What is to be known of an operator before any event.

    ``paper``: its name in the CIDR 2023 paper, if it is there; ``signs``: how it is written where it is no
    function; ``gives``: its kind; ``exact``: whether it has slope: never, always, or where an operand has;
    ``look_back``, ``look_ahead``: how far from an instant its inputs still matter: 0, or its window;
    ``in_conditions``: it also stands in a condition on one event's columns, over their values;
    ``earliest_suffices``: of a key's events that satisfy its condition, the earliest says everything.
    """

    name: str
    node: type[t.Node] = t.Call
    paper: str = ""
    signs: tuple[str, ...] = ()
    arguments: tuple[Argument, ...]
    gives: KindName
    exact: Choice["never", "always", "operand"] = "never"
    canonical: Form = "operands"
    look_back: Choice[0, "window"] = 0
    look_ahead: Choice[0, "window"] = 0
    in_conditions: bool = False
    earliest_suffices: bool = False
    doc: str
    example: Example

    @property
    def is_function(self) -> bool:
        """Whether it is written as ``name(…)``."""
        return not self.signs

    @property
    def operands(self) -> tuple[Argument, ...]:
        """The arguments that are expressions."""
        return tuple(argument for argument in self.arguments if argument not in ("column", "window"))

    def is_exact(self, operands: Iterable[bool]) -> bool:
        """Whether it has slope over operands of which this is so."""
        return self.exact == "always" or (self.exact == "operand" and any(operands))

    def call(
        self,
        operands: Sequence[t.Expression],
        column: str = "",
        within: int | None = None,
        span: tuple[int, int] | None = None,
    ) -> t.Expression:
        """The node of this function over what its ``arguments`` say."""
        if self.node is t.Call:
            name = column if "column" in self.arguments else None
            return t.Call(function=self.name, operands=tuple(operands), column=name, within=within, span=span)
        fields: dict[str, Any] = {"column": column} if "column" in self.arguments else {"of": operands[0]}
        if "window" in self.arguments:
            fields["within"] = within
        return cast(t.Expression, self.node(**fields, span=span))


_PLAY = 'latest_event_to_state(state) == "play"'

_ROWS = (
    Operator(
        name="latest_event_to_state",
        node=t.LatestEventToState,
        paper="TL_LatestEventToState",
        arguments=("column",),
        gives="state",
        doc="the value of the column in the last event that has it; unknown before the first",
        example=Example("latest_event_to_state(state)", 5, "buffer"),
    ),
    Operator(
        name="has_existed",
        node=t.HasExisted,
        paper="TL_HasExisted",
        arguments=("condition",),
        gives="boolean",
        earliest_suffices=True,
        doc="some event up to now satisfies the condition, or the Boolean was true at some instant",
        example=Example('has_existed(user == "seek")', 5, False),
    ),
    Operator(
        name="has_existed_within",
        node=t.HasExistedWithin,
        paper="TL_HasExistedWithin",
        arguments=("condition", "window"),
        gives="boolean",
        look_back="window",
        doc="the same in the last `d`: a match at `e` gives `[e, e+d)`, a true span `[a, b)` `[a, b+d)`",
        example=Example('has_existed_within(user == "seek", 5s)', 10, True),
    ),
    Operator(
        name="event_count",
        node=t.EventCount,
        paper="TL_EventCount",
        arguments=("events",),
        gives="numeric",
        doc="how many events up to now satisfy the condition",
        example=Example('event_count(state == "play")', 9, 2),
    ),
    Operator(
        name="event_count_within",
        node=t.EventCountWithin,
        paper="TL_EventCountWithin",
        arguments=("events", "window"),
        gives="numeric",
        look_back="window",
        doc="how many in `(t-d, t]`",
        example=Example('event_count_within(state == "play", 5s)', 13, 1),
    ),
    Operator(
        name="duration_where",
        node=t.DurationWhere,
        paper="TL_DurationWhere",
        arguments=("boolean",),
        gives="numeric",
        exact="always",
        doc="how long x has been true since the origin, in seconds; slope 1 while it is",
        example=Example(f"duration_where({_PLAY})", 10, 5),
    ),
    Operator(
        name="duration_in_cur_state",
        node=t.DurationInCurState,
        paper="TL_DurationInCurState",
        arguments=("state",),
        gives="numeric",
        exact="always",
        doc="the time since the last change of x, in seconds; unknown while x is",
        example=Example("duration_in_cur_state(latest_event_to_state(state))", 7, 3),
    ),
    Operator(
        name="held_for",
        arguments=("boolean", "window"),
        gives="boolean",
        look_back="window",
        doc="x has been true for `d`: a longer true span `[a, b)` gives `[a+d, b)`, any other nothing",
        example=Example(f"held_for({_PLAY}, 10s)", 19, True),
    ),
    Operator(
        name="abs",
        arguments=("number",),
        gives="numeric",
        exact="operand",
        doc="the absolute value of x, unknown while x is; a sloping x bends where it crosses 0",
        example=Example("abs(latest_event_to_state(bitrate) - 1000)", 5, 200),
    ),
    Operator(
        name="compare",
        node=t.Compare,
        signs=("==", "!=", "<", "<=", ">", ">="),
        arguments=("any", "any"),
        gives="boolean",
        canonical="compared",
        in_conditions=True,
        doc="also with a constant; false wherever a side is unknown; exact where a side has a slope",
        example=Example(_PLAY, 5, False),
    ),
    Operator(
        name="and",
        node=t.And,
        signs=("&&", "&"),
        arguments=("boolean", "boolean"),
        gives="boolean",
        canonical="ordered",
        in_conditions=True,
        doc="both, at each instant",
        example=Example(f'{_PLAY} && has_existed(user == "seek")', 10, True),
    ),
    Operator(
        name="or",
        node=t.Or,
        signs=("||", "|"),
        arguments=("boolean", "boolean"),
        gives="boolean",
        canonical="ordered",
        in_conditions=True,
        doc="either, at each instant",
        example=Example(f'{_PLAY} || has_existed(user == "seek")', 5, False),
    ),
    Operator(
        name="not",
        node=t.Not,
        signs=("!", "~"),
        arguments=("boolean",),
        gives="boolean",
        canonical="negated",
        in_conditions=True,
        doc="the negation, of the smallest operand that follows, a comparison included",
        example=Example('!has_existed(user == "seek")', 5, True),
    ),
    Operator(
        name="since",
        signs=("since",),
        arguments=("boolean", "boolean"),
        gives="boolean",
        doc="`x since y`: from an instant at which both are true, for as long as x then stays true",
        example=Example(f"{_PLAY} since latest_event_to_state(bitrate) > 1000", 25, True),
    ),
    Operator(
        name="arithmetic",
        node=t.Arithmetic,
        signs=("+", "-", "*", "/"),
        arguments=("number", "number"),
        gives="numeric",
        exact="operand",
        canonical="computed",
        in_conditions=True,
        doc="unknown where a side is unknown or a divisor is 0; `*` and `/` need one side without slope",
        example=Example("latest_event_to_state(bitrate) / 1000", 9, 1.6),
    ),
    Operator(
        name="aggregate",
        node=t.Aggregate,
        signs=("|",),
        arguments=("any", "column"),
        gives="numeric",
        exact="operand",
        canonical="aggregated",
        doc="`x | aggregate(group_by(column), …)`: count, sum, avg, min, max over the keys of each group",
        example=Example('has_existed(state == "play") | aggregate(group_by(muted), count)', 9, 1, False),
    ),
)

OPERATORS: dict[str, Operator] = {row.name: row for row in _ROWS}
"""All operators by name."""


def name_of(node: t.Expression) -> str:
    """The name of the operator that ``node`` is; "column" and "literal" are none."""
    return node.function if isinstance(node, t.Call) else node.op


def row_of(node: t.Expression) -> Operator:
    """The row of the operator that ``node`` is. Raises ExpressionError for a column, a literal, and a
    function that is not in the table."""
    row = OPERATORS.get(name_of(node))
    if row is None:
        raise ExpressionError(f"{name_of(node)} is no operator", span=node.span)
    return row


def function_called(name: str) -> Operator | None:
    """The function of this name, in our spelling or the paper's."""
    row = OPERATORS.get(name)
    if row is None:
        row = next((one for one in OPERATORS.values() if one.paper == name), None)
    return row if row is not None and row.is_function else None


def is_predicate(node: t.Expression) -> bool:
    """Whether ``node`` is a condition, or part of one, on one event's columns."""
    if isinstance(node, t.Column | t.Literal):
        return True
    return stands_in_conditions(node) and all(map(is_predicate, node.children()))


def stands_in_conditions(node: t.Expression) -> bool:
    """Whether ``node`` is an operator that a condition on one event's columns may be made of."""
    row = OPERATORS.get(name_of(node))
    return row is not None and row.in_conditions


def earliest_suffices(leaf: t.Expression) -> bool:
    """Whether of each key's events that concern ``leaf`` the earliest says everything."""
    row = OPERATORS.get(name_of(leaf))
    return row is not None and row.earliest_suffices


def is_leaf(node: t.Expression) -> bool:
    """Whether ``node`` looks at events rather than timelines."""
    if isinstance(node, t.Changelog):  # no function of events: there is no row for it
        return True
    row = OPERATORS.get(name_of(node))
    first = None if row is None or not row.is_function else row.arguments[0]
    return first in ("column", "events") or (first == "condition" and is_predicate(node.children()[0]))


def is_exact(node: t.Expression) -> bool:
    """Whether ``node`` is a Numeric made from durations: it has exact values, with a slope."""
    if isinstance(node, t.Changelog):
        return node.kind == "numeric"
    row = OPERATORS.get(name_of(node))
    return row is not None and row.is_exact(map(is_exact, node.children()))


def look_back(node: t.Expression) -> int:
    """How many microseconds before an instant the inputs of ``node`` still matter."""
    if isinstance(node, t.Changelog):
        return 0
    return int(getattr(node, "within", 0) or 0) if row_of(node).look_back == "window" else 0
