"""One tree, one text and one name for all ways of writing the same expression.

``canonical`` changes how an expression is written, never what it answers: constants are folded, a literal
stands on the right, operands whose order does not matter are ordered by their text, ``!!x`` is ``x``, and a
literal that meets a duration is an int when it is whole (durations are exact: 600 and 600.0 seconds are the
same). ``&&`` and ``||`` stay the binary nodes they were written as: each is one worker.
"""

from __future__ import annotations

import hashlib
import operator as op
from collections.abc import Callable, Iterator

import msgspec

from timeline_workers.columns.values import INT64_MAX, INT64_MIN

from . import tree as t
from .durations import format_duration
from .lexicon import AGGREGATE_FUNCTIONS, column_text, quote
from .operator_table import Form, is_exact, name_of, row_of

_FLIPPED: dict[t.CompareOperator, t.CompareOperator] = {
    "==": "==",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}
_COMPUTE: dict[t.ArithmeticOperator, Callable[[int | float, int | float], int | float]] = {
    "+": op.add,
    "-": op.sub,
    "*": op.mul,
    "/": op.truediv,
}
_COMPARE_SLUGS: dict[t.CompareOperator, str] = {
    "==": "equal-to",
    "!=": "not-equal-to",
    "<": "less-than",
    "<=": "less-or-equal",
    ">": "greater-than",
    ">=": "greater-or-equal",
}
_ARITHMETIC_SLUGS: dict[t.ArithmeticOperator, str] = {
    "+": "plus",
    "-": "minus",
    "*": "times",
    "/": "divided-by",
}
# Precedences of the grammar, loosest first.
_OR, _AND, _SINCE, _NOT, _COMPARE, _SUM, _PRODUCT, _ATOM = range(1, 9)


def canonical(expression: t.Expression) -> t.Expression:
    """Return the canonical tree of ``expression``; equal answers are not promised to give equal trees.

    Idempotent. Spans are kept where a node is. The expression must have passed ``check``, or at least be no
    deeper than the parser allows.
    """
    if isinstance(expression, t.Column | t.Literal | t.Changelog):
        return _plain_zero(expression)
    return _FORMS[row_of(expression).canonical](expression)


def _operands(node: t.Expression) -> t.Expression:
    if isinstance(node, t.Call):
        return _with(node, operands=tuple(map(canonical, node.operands)))
    inside = {name: getattr(node, name) for name in ("of", "left", "right") if hasattr(node, name)}
    return _with(node, **{name: canonical(child) for name, child in inside.items()})


def _negated(node: t.Expression) -> t.Expression:
    of = canonical(node.children()[0])
    return of.of if isinstance(of, t.Not) else _with(node, of=of)


def _both_ways(node: t.Expression) -> t.Expression:
    left, right = _ordered(*map(canonical, node.children()))
    return _with(node, left=left, right=right)


def _aggregated(node: t.Expression) -> t.Expression:
    assert isinstance(node, t.Aggregate)
    functions = tuple(name for name in AGGREGATE_FUNCTIONS if name in node.functions)
    return _with(node, of=canonical(node.of), functions=functions)


def _with(node: t.Expression, **changes: object) -> t.Expression:
    return msgspec.structs.replace(node, **changes)


def _plain_zero(node: t.Expression) -> t.Expression:
    if isinstance(node, t.Literal) and isinstance(node.value, float):
        return _with(node, value=node.value + 0.0)  # -0.0 is 0.0
    return node


def _ordered(left: t.Expression, right: t.Expression) -> tuple[t.Expression, t.Expression]:
    def key(node: t.Expression) -> tuple[bool, str]:
        return isinstance(node, t.Literal), to_text(node)

    return (left, right) if key(left) <= key(right) else (right, left)


def _compare(node: t.Expression) -> t.Expression:
    assert isinstance(node, t.Compare)
    left, right = _beside_exact(canonical(node.left), canonical(node.right))
    first, second = _ordered(left, right)
    operator = node.operator if first is left else _FLIPPED[node.operator]
    return _with(node, operator=operator, left=first, right=second)


def _arithmetic(node: t.Expression) -> t.Expression:
    assert isinstance(node, t.Arithmetic)
    left, right = _beside_exact(canonical(node.left), canonical(node.right))
    if node.operator in ("+", "*"):
        left, right = _ordered(left, right)
    return _computed(node, left, right)


def _computed(node: t.Arithmetic, left: t.Expression, right: t.Expression) -> t.Expression:
    unfolded = _with(node, left=left, right=right)
    if not isinstance(left, t.Literal) or not isinstance(right, t.Literal):
        return unfolded
    a, b = left.value, right.value
    if isinstance(a, bool | str) or isinstance(b, bool | str):
        return unfolded
    try:
        value = _COMPUTE[node.operator](a, b)
        if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
            value = float(value)
    except (ZeroDivisionError, OverflowError):
        return unfolded
    if value != value or value in (float("inf"), float("-inf")):
        return unfolded
    return t.Literal(value=value + 0.0 if isinstance(value, float) else value, span=node.span)


def fold(expression: t.Expression) -> t.Expression:
    """Return the Literal that a constant ``expression`` comes to, by the rules of numbers without slope.

    Anything that is not constant, or has no finite value, comes back as something else than a Literal.
    """
    if isinstance(expression, t.Arithmetic):
        return _computed(expression, fold(expression.left), fold(expression.right))
    return expression


_FORMS: dict[Form, Callable[[t.Expression], t.Expression]] = {
    "operands": _operands,
    "ordered": _both_ways,
    "negated": _negated,
    "compared": _compare,
    "computed": _arithmetic,
    "aggregated": _aggregated,
}


def _beside_exact(left: t.Expression, right: t.Expression) -> tuple[t.Expression, t.Expression]:
    if is_exact(left):
        right = _whole(right)
    if is_exact(right):
        left = _whole(left)
    return left, right


def _whole(node: t.Expression) -> t.Expression:
    if isinstance(node, t.Literal) and isinstance(node.value, float) and node.value.is_integer():
        value = int(node.value)
        if INT64_MIN <= value <= INT64_MAX:
            return _with(node, value=value)
    return node


def to_text(expression: t.Expression) -> str:
    """Return ``expression`` in our spelling, with no more parentheses than it takes.

    ``parse(to_text(x)) == x`` for every tree that is not too large to parse. Numbers come without units (a
    duration literal is its seconds), windows with.
    """
    return _text(expression, 0)


def _text(node: t.Expression, surroundings: int) -> str:
    text, precedence = _written(node)
    return f"({text})" if precedence < surroundings else text


def _written(node: t.Expression) -> tuple[str, int]:
    match node:
        case t.Column():
            return column_text(node.name), _ATOM
        case t.Literal():
            return _literal(node.value), _ATOM
        case t.Changelog():
            return f"{node.op}({node.kind})", _ATOM
        case t.Or():
            return f"{_text(node.left, _OR)} || {_text(node.right, _AND)}", _OR
        case t.And():
            return f"{_text(node.left, _AND)} && {_text(node.right, _SINCE)}", _AND
        case t.Call(function="since"):
            left, right = node.operands
            return f"{_text(left, _NOT)} since {_text(right, _NOT)}", _SINCE
        case t.Not():
            # !a == b would read back as !(a == b), but people should not have to know.
            inner = _ATOM if isinstance(node.of, t.Compare | t.Arithmetic) else _NOT
            return f"!{_text(node.of, inner)}", _NOT
        case t.Compare():
            return f"{_text(node.left, _SUM)} {node.operator} {_text(node.right, _SUM)}", _COMPARE
        case t.Arithmetic():
            own = _SUM if node.operator in "+-" else _PRODUCT
            return f"{_text(node.left, own)} {node.operator} {_text(node.right, own + 1)}", own
        case t.Aggregate():
            arguments = ", ".join((f"group_by({column_text(node.group_by)})", *node.functions))
            return f"{_text(node.of, _AND)} | aggregate({arguments})", 0
        case _:
            return f"{name_of(node)}({', '.join(_arguments(node))})", _ATOM


def _arguments(node: t.Expression) -> Iterator[str]:
    operands = iter(node.children())
    for kind in row_of(node).arguments:
        if kind == "column":
            yield column_text(getattr(node, "column"))  # noqa: B009 - whichever class it is
        elif kind == "window":
            yield format_duration(getattr(node, "within"))  # noqa: B009
        else:
            yield _text(next(operands), 0)


def _literal(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else repr(value)


def content_hash(expression: t.Expression, extra: str = "") -> str:
    """Return the SHA-256, in hex, of the canonical text of ``expression`` and of ``extra``."""
    return text_hash(to_text(canonical(expression)), extra)


def text_hash(text: str, extra: str = "") -> str:
    """Return the ``content_hash`` of the expression whose canonical text is ``text``."""
    return hashlib.sha256(f"{text}\0{extra}".encode()).hexdigest()


def slug(expression: t.Expression) -> str:
    """Return the readable name of the root operator, such as ``tl-has-existed-within`` or ``equal-to``."""
    match expression:
        case t.Compare():
            return _COMPARE_SLUGS[expression.operator]
        case t.Arithmetic():
            return _ARITHMETIC_SLUGS[expression.operator]
        case t.And() | t.Or() | t.Not() | t.Aggregate() | t.Literal() | t.Column():
            return expression.op
        case _:
            return f"tl-{name_of(expression).replace('_', '-')}"
