"""The typed tree of a timeline expression: what the text grammar and the Python builder both produce.

A tree is immutable. Two trees are equal when they say the same, wherever they were written: ``span`` (the
character range in the source text, for error messages) takes no part in equality, hashing or dumps.
Operators are those of Table 1 of the CIDR 2023 paper and of the project's semantics page.

Inside ``HasExisted``, ``HasExistedWithin``, ``EventCount`` and ``EventCountWithin`` the argument ``of`` is
either a *predicate* over the columns of one event (its leaves are ``Column`` and ``Literal`` only) or, for
the first two, a Boolean timeline. ``Column`` occurs nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Literal as Choice, cast

from pydantic import BaseModel, ConfigDict, Field

CompareOperator = Choice["==", "!=", "<", "<=", ">", ">="]
ArithmeticOperator = Choice["+", "-", "*", "/"]
AggregateFunction = Choice["count", "sum", "avg", "min", "max"]


class Node(BaseModel):
    """Base of all tree nodes: frozen, compared by content without ``span``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    span: tuple[int, int] | None = Field(default=None, exclude=True, repr=False)

    # Plain loops: trees as deep as the parser allows stay well within Python's recursion limit.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        if type(self) is not type(other):
            return False
        for name in type(self).model_fields:
            a, b = getattr(self, name), getattr(other, name)
            # 1, 1.0 and True are different literals although Python calls them equal.
            if name != "span" and a is not b and (type(a) is not type(b) or a != b):
                return False
        return True

    def __hash__(self) -> int:
        content: list[object] = [type(self)]
        for name in type(self).model_fields:
            if name != "span":
                content.append(getattr(self, name))
        return hash(tuple(content))

    def children(self) -> tuple[Expression, ...]:
        """The operands that are expressions, in order."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(cast("Expression", value) for value in values if isinstance(value, Node))


class Column(Node):
    """A column of one event, by its dotted name; only inside predicates."""

    op: Choice["column"] = "column"
    name: str


class Literal(Node):
    """A constant. A duration literal is its number of seconds (int when whole, else the shortest float)."""

    op: Choice["literal"] = "literal"
    value: bool | int | float | str


class LatestEventToState(Node):
    """State: the value of ``column`` in the last event that has it."""

    op: Choice["latest_event_to_state"] = "latest_event_to_state"
    column: str


class Changelog(Node):
    """Of ``kind``: what the messages of a changelog, another metric's output, say of a key."""

    op: Choice["changelog"] = "changelog"
    kind: Choice["state", "boolean", "numeric"]


class HasExisted(Node):
    """Boolean: some event at or before t satisfied the predicate, or the timeline was True at some time."""

    op: Choice["has_existed"] = "has_existed"
    of: Expression


class HasExistedWithin(Node):
    """Boolean: the same within the last ``within`` microseconds (a positive whole number)."""

    op: Choice["has_existed_within"] = "has_existed_within"
    of: Expression
    within: int


class EventCount(Node):
    """Numeric: number of events at or before t that satisfy the predicate."""

    op: Choice["event_count"] = "event_count"
    of: Expression


class EventCountWithin(Node):
    """Numeric: number of matching events in ``(t - within, t]``; ``within`` in microseconds."""

    op: Choice["event_count_within"] = "event_count_within"
    of: Expression
    within: int


class Compare(Node):
    """Boolean: ``left operator right``; False wherever a side is unknown."""

    op: Choice["compare"] = "compare"
    operator: CompareOperator
    left: Expression
    right: Expression


class And(Node):
    """Boolean: both, pointwise."""

    op: Choice["and"] = "and"
    left: Expression
    right: Expression


class Or(Node):
    """Boolean: either, pointwise."""

    op: Choice["or"] = "or"
    left: Expression
    right: Expression


class Not(Node):
    """Boolean: the negation, pointwise."""

    op: Choice["not"] = "not"
    of: Expression


class Arithmetic(Node):
    """Numeric: ``left operator right``; unknown where a side is unknown or a divisor is 0."""

    op: Choice["arithmetic"] = "arithmetic"
    operator: ArithmeticOperator
    left: Expression
    right: Expression


class DurationWhere(Node):
    """Numeric: how long the Boolean ``of`` has been True since the origin."""

    op: Choice["duration_where"] = "duration_where"
    of: Expression


class DurationInCurState(Node):
    """Numeric: time since the last change of ``of``; unknown while it is unknown."""

    op: Choice["duration_in_cur_state"] = "duration_in_cur_state"
    of: Expression


class Call(Node):
    """A function of the table of operators that has no class of its own here: over ``operands``, or over the
    events' values of ``column``; ``within`` in microseconds."""

    op: Choice["call"] = "call"
    function: str
    operands: tuple[Expression, ...]
    column: str | None = None
    within: int | None = None

    def children(self) -> tuple[Expression, ...]:
        """The operands."""
        return self.operands


class Aggregate(Node):
    """``of | aggregate(group_by(column), functions…)``: one Numeric timeline per group and function.

    Only allowed as the outermost node.
    """

    op: Choice["aggregate"] = "aggregate"
    of: Expression
    group_by: str
    functions: tuple[AggregateFunction, ...]


Expression = Annotated[
    Column
    | Literal
    | LatestEventToState
    | Changelog
    | HasExisted
    | HasExistedWithin
    | EventCount
    | EventCountWithin
    | Compare
    | And
    | Or
    | Not
    | Arithmetic
    | DurationWhere
    | DurationInCurState
    | Call
    | Aggregate,
    Field(discriminator="op"),
]

for _model in (
    HasExisted,
    HasExistedWithin,
    EventCount,
    EventCountWithin,
    Compare,
    And,
    Or,
    Not,
    Arithmetic,
    DurationWhere,
    DurationInCurState,
    Call,
    Aggregate,
):
    _model.model_rebuild()
