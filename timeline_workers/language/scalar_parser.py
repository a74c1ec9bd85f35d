"""Text to tree for expressions over the columns of one event: ``parse_scalar``.

The grammar and the literals are those of timelines; the functions are those of ``scalar_table``, as
``tree.Call`` nodes, and ``x in [a, b]`` is one, too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from lark import Token

from . import tree as t
from .canonical import to_text
from .lexicon import RESERVED
from .nesting import refuse_deep
from .operator_table import OPERATORS
from .parser import Lowering, Syntax, syntax_of
from .scalar_table import AMONG, SCALARS
from .suggestions import nearest


@lru_cache(maxsize=256)
def parse_scalar(text: str) -> t.Expression:
    """Return the tree of an expression over the columns of one event. Raises ExpressionError."""
    expression = _ScalarLowering(text).expression(syntax_of(text))
    refuse_deep(expression, text)
    return expression


class _ScalarLowering(Lowering):
    def call(self, syntax: Syntax) -> t.Expression:
        """A function of values."""
        token, *rest = syntax.children
        name = str(cast(Token, token))
        arguments = cast(list[Syntax], rest)
        if name == "col":
            return self._col(syntax, arguments)
        row = SCALARS.get(name)
        if row is None:
            raise self.error(f"there is no function `{name:.40}` of values", cast(Token, token), _hint(name))
        least = len(row.takes) - row.optional
        end = (syntax.meta.end_pos - 1, syntax.meta.end_pos)
        if len(arguments) < least:
            raise self.error(f"{name} needs {_many(least)}, not {len(arguments)}", end, row.doc)
        if len(arguments) > len(row.takes) and not row.repeated:
            raise self.error(f"{name} takes {_many(len(row.takes))}", arguments[len(row.takes)], row.doc)
        return t.Call(
            function=name,
            operands=tuple(map(self.expression, arguments)),
            span=(syntax.meta.start_pos, syntax.meta.end_pos),
        )

    def among(self, syntax: Syntax) -> t.Expression:
        """``x in [a, b]``."""
        of, _, *rest = syntax.children
        values = cast(list[Syntax], rest)
        operands = [self.expression(cast(Syntax, of))]
        for value in values:
            constant = self.expression(value)
            if not isinstance(constant, t.Literal):
                raise self.error("in [...] takes constants", value, 'as in game in ["chess", "go"]')
            operands.append(constant)
        span = (syntax.meta.start_pos, syntax.meta.end_pos)
        return t.Call(function=AMONG, operands=tuple(operands), span=span)


def _hint(name: str) -> str:
    if name in RESERVED:
        return RESERVED[name]
    if name in OPERATORS and OPERATORS[name].is_function:
        return f"{name} is a timeline, for the expression of a metric; here is one event at a time"
    near = nearest(name, SCALARS)
    return f"did you mean {near}?" if near else f"the functions are {', '.join(SCALARS)}"


def _many(count: int) -> str:
    return "1 argument" if count == 1 else f"{count} arguments"


def scalar_text(expression: t.Expression) -> str:
    """Return ``expression`` in one spelling: ``parse_scalar(scalar_text(x)) == x``."""
    match expression:
        case t.Call(function=function, operands=operands):
            texts = [scalar_text(one) for one in operands]
            if function == AMONG:
                return f"{_inside(operands[0])} in [{', '.join(texts[1:])}]"
            return f"{function}({', '.join(texts)})"
        case t.Column() | t.Literal():
            return to_text(expression)
        case t.Not():
            return f"!{_inside(expression.of)}"
        case t.And() | t.Or() | t.Compare() | t.Arithmetic():
            sign = {t.And: "&&", t.Or: "||"}.get(type(expression)) or getattr(expression, "operator")  # noqa: B009
            return f"{_inside(expression.left)} {sign} {_inside(expression.right)}"
    raise TypeError(f"{expression.op} is no value of one event")


def _inside(expression: t.Expression) -> str:
    text = scalar_text(expression)
    plain = isinstance(expression, t.Column | t.Literal) or (
        isinstance(expression, t.Call) and expression.function != AMONG
    )
    return text if plain else f"({text})"
