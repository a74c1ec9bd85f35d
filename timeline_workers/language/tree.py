"""The typed tree of a timeline expression: what the text grammar and the Python builder both produce.

A tree is immutable. Two trees are equal when they say the same, wherever they were written: ``span`` (the
character range in the source text, for error messages) takes no part in equality and hashing. Fields are
checked when a node is read from JSON, not when it is made: ``parse`` and the builder make what fits.
Operators are those of Table 1 of the CIDR 2023 paper and of the project's semantics page.

Inside ``HasExisted``, ``HasExistedWithin``, ``EventCount`` and ``EventCountWithin`` the argument ``of`` is
either a *predicate* over the columns of one event (its leaves are ``Column`` and ``Literal`` only) or, for
the first two, a Boolean timeline. ``Column`` occurs nowhere else.
"""

from __future__ import annotations

from typing import Literal as Choice, TypeAlias, cast

import msgspec

CompareOperator = Choice["==", "!=", "<", "<=", ">", ">="]
ArithmeticOperator = Choice["+", "-", "*", "/"]
AggregateFunction = Choice["count", "sum", "avg", "min", "max"]


class Node(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    eq=False,
    tag_field="op",
    forbid_unknown_fields=True,
    repr_omit_defaults=True,
):
    """Base of all tree nodes: frozen, compared by content without ``span``."""

    span: tuple[int, int] | None = None

    @property
    def op(self) -> str:
        """The name of this kind of node, as in JSON."""
        return str(self.__struct_config__.tag)

    # Plain loops: trees as deep as the parser allows stay well within Python's recursion limit.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        if type(self) is not type(other):
            return False
        for name in self.__struct_fields__:
            a, b = getattr(self, name), getattr(other, name)
            # 1, 1.0 and True are different literals although Python calls them equal.
            if name != "span" and a is not b and (type(a) is not type(b) or a != b):
                return False
        return True

    def __ne__(self, other: object) -> bool:  # a Struct's own goes by identity
        return not self == other

    def __hash__(self) -> int:
        content: list[object] = [type(self)]
        for name in self.__struct_fields__:
            if name != "span":
                content.append(getattr(self, name))
        return hash(tuple(content))

    def children(self) -> tuple[Expression, ...]:
        """The operands that are expressions, in order."""
        values = (getattr(self, name) for name in self.__struct_fields__)
        return tuple(cast("Expression", value) for value in values if isinstance(value, Node))


class Column(Node, tag="column", frozen=True):
    """A column of one event, by its dotted name; only inside predicates."""

    name: str


class Literal(Node, tag="literal", frozen=True):
    """A constant. A duration literal is its number of seconds (int when whole, else the shortest float)."""

    value: bool | int | float | str


class LatestEventToState(Node, tag="latest_event_to_state", frozen=True):
    """State: the value of ``column`` in the last event that has it."""

    column: str


class Changelog(Node, tag="changelog", frozen=True):
    """Of ``kind``: what the messages of a changelog, another metric's output, say of a key. Numeric are both
    ``number``, without slope, as the numbers of events are, and ``numeric``, exact and with slope.
    """

    kind: Choice["state", "boolean", "number", "numeric"]


class HasExisted(Node, tag="has_existed", frozen=True):
    """Boolean: some event at or before t satisfied the predicate, or the timeline was True at some time."""

    of: Expression


class HasExistedWithin(Node, tag="has_existed_within", frozen=True):
    """Boolean: the same within the last ``within`` microseconds (a positive whole number)."""

    of: Expression
    within: int


class EventCount(Node, tag="event_count", frozen=True):
    """Numeric: number of events at or before t that satisfy the predicate."""

    of: Expression


class EventCountWithin(Node, tag="event_count_within", frozen=True):
    """Numeric: number of matching events in ``(t - within, t]``; ``within`` in microseconds."""

    of: Expression
    within: int


class Compare(Node, tag="compare", frozen=True):
    """Boolean: ``left operator right``; False wherever a side is unknown."""

    operator: CompareOperator
    left: Expression
    right: Expression


class And(Node, tag="and", frozen=True):
    """Boolean: both, pointwise."""

    left: Expression
    right: Expression


class Or(Node, tag="or", frozen=True):
    """Boolean: either, pointwise."""

    left: Expression
    right: Expression


class Not(Node, tag="not", frozen=True):
    """Boolean: the negation, pointwise."""

    of: Expression


class Arithmetic(Node, tag="arithmetic", frozen=True):
    """Numeric: ``left operator right``; unknown where a side is unknown or a divisor is 0."""

    operator: ArithmeticOperator
    left: Expression
    right: Expression


class DurationWhere(Node, tag="duration_where", frozen=True):
    """Numeric: how long the Boolean ``of`` has been True since the origin."""

    of: Expression


class DurationInCurState(Node, tag="duration_in_cur_state", frozen=True):
    """Numeric: time since the last change of ``of``; unknown while it is unknown."""

    of: Expression


class Call(Node, tag="call", frozen=True):
    """A function of the table of operators that has no class of its own here: over ``operands``, or over the
    events' values of ``column``; ``within`` in microseconds."""

    function: str
    operands: tuple[Expression, ...]
    column: str | None = None
    within: int | None = None

    def children(self) -> tuple[Expression, ...]:
        """The operands."""
        return self.operands


class Aggregate(Node, tag="aggregate", frozen=True):
    """``of | aggregate(group_by(column), functions…)``: one Numeric timeline per group and function.

    Only allowed as the outermost node.
    """

    of: Expression
    group_by: str
    functions: tuple[AggregateFunction, ...]


Expression: TypeAlias = (
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
    | Aggregate
)
