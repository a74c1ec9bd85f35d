"""Text to tree: ``parse``, for our spelling of the operators and the paper's.

Lark (LALR) turns text into a syntax tree; this module turns that into the typed tree, and does what a grammar
cannot say well: names of functions, their arguments, literals. What a syntax error means is in ``mistakes``.
Kinds and types are not looked at here but in ``check``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from timeline_workers.columns.values import INT64_MAX, INT64_MIN
from timeline_workers.errors import ExpressionError, MetricError

from . import tree as t
from .durations import MICROSECONDS, parse_duration
from .lexicon import (
    AGGREGATE_FUNCTIONS,
    CHANGELOG_KINDS,
    FUNCTIONS,
    MAX_LENGTH,
    MAX_WINDOW,
    RESERVED,
    EscapeMistake,
    unquote,
)
from .nesting import MAX_DEPTH, refuse_deep, too_deep
from .operator_table import OPERATORS, function_called
from .suggestions import nearest
from .syntax_errors import explain

Syntax = Tree[Token]
Span = tuple[int, int]

_OURS = {ours: ours for ours in FUNCTIONS} | {paper: ours for ours, paper in FUNCTIONS.items()}
_AGGREGATE = ("aggregate", "TL_Aggregate")
_COUNTS = ("no", "one", "two", "three", "four", "five")
_ORDINALS = ("", "first", "second", "third", "fourth", "fifth")
_PARENTHESES = "put one of them in parentheses, as in (x since y) since z"
_DURATION = re.compile(r"([0-9.]+)\s*(\w+)")


@cache
def _lark() -> Lark:
    grammar = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", propagate_positions=True)


def parse(text: str) -> t.Expression:
    """Return the tree of an expression; every node has its ``span`` in ``text``.

    Raises ExpressionError, with the place and what was expected, for any text that is not an expression, and
    nothing else. Texts over 64 Ki characters and nestings deeper than 100 are refused.
    """
    return _parse(text)


@lru_cache(maxsize=128)
def _parse(text: str) -> t.Expression:
    # Kept, as trees are immutable and the workers of one process have the same few texts: one each time a
    # worker is brought back from its history.
    expression = Lowering(text).root(syntax_of(text))
    refuse_deep(expression, text)
    return expression


def syntax_of(text: str) -> Syntax:
    """The syntax of an expression, no deeper than what walks it can take. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"the expression has {len(text)} characters; {MAX_LENGTH} are the most that one may have"
        )
    surrogate = next((i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff"), None)
    if surrogate is not None:
        shown = text.encode(errors="replace").decode()
        place = (surrogate, surrogate + 1)
        raise ExpressionError("half of a surrogate pair is no character", text=shown, span=place)
    interactive = _lark().parse_interactive(text)
    tokens: list[Token] = []
    try:
        for token in interactive.iter_parse():
            tokens.append(token)
        syntax = cast(Syntax, interactive.feed_eof(tokens[-1] if tokens else None))  # type: ignore[no-untyped-call]
    except UnexpectedInput as mistake:
        if tokens and getattr(mistake, "token", None) is tokens[-1]:
            tokens.pop()
        # "from None": the parser's own account, in names of tokens, would only confuse.
        raise explain(text, tokens, mistake) from None
    whole = cast(Syntax, syntax.children[0])
    _guard_the_stack(text, whole)
    return whole


def _guard_the_stack(text: str, syntax: Syntax) -> None:
    # Parentheses cost the walk nothing. What is folded away (- - 5) does, and a column inside a function is
    # one level more here than in the tree: the exact limit is for refuse_deep.
    stack = [(syntax, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH + 2:
            raise too_deep(text, _span(node))
        inner = depth if node.data == "group" else depth + 1
        stack.extend((child, inner) for child in node.children if isinstance(child, Tree))


def _span(syntax: Syntax | Token) -> Span:
    if isinstance(syntax, Token):
        return cast(int, syntax.start_pos), cast(int, syntax.end_pos)
    return syntax.meta.start_pos, syntax.meta.end_pos


def _bare(syntax: Syntax) -> Syntax:
    while syntax.data == "group":
        syntax = cast(Syntax, syntax.children[0])
    return syntax


class Lowering:
    """From syntax to the typed tree. Recursion is bounded: the depth has been checked."""

    def __init__(self, text: str) -> None:
        self._text = text

    def error(self, message: str, at: Syntax | Token | Span, hint: str = "") -> ExpressionError:
        """The mistake ``message`` at a place in the text."""
        return ExpressionError(
            message, text=self._text, span=at if isinstance(at, tuple) else _span(at), hint=hint
        )

    def root(self, syntax: Syntax) -> t.Expression:
        """The whole expression, which alone may end in an aggregate."""
        outer = _bare(syntax)
        if outer.data == "or_":
            left, bar, right = cast(tuple[Syntax, Token, Syntax], outer.children)
            if right.data == "call" and right.children[0] in _AGGREGATE:
                if bar != "|":
                    raise self.error(f"`{bar}` means or", bar, "write | before aggregate(...)")
                return self._aggregate(outer, left, right)
        return self.expression(syntax)

    def expression(self, syntax: Syntax) -> t.Expression:
        """The tree of a part."""
        syntax = _bare(syntax)
        span = _span(syntax)
        match syntax.data:
            case "or_" | "and_":
                left, right = self._both(syntax)
                return (t.Or if syntax.data == "or_" else t.And)(left=left, right=right, span=span)
            case "not_":
                return t.Not(of=self.expression(cast(Syntax, syntax.children[-1])), span=span)
            case "since":
                if cast(Syntax, syntax.children[0]).data == "since":
                    raise self.error("since cannot be chained", cast(Token, syntax.children[1]), _PARENTHESES)
                return OPERATORS["since"].call(self._both(syntax), span=span)
            case "compare":
                if cast(Syntax, syntax.children[0]).data == "compare":
                    raise self.error(
                        "comparisons cannot be chained",
                        cast(Token, syntax.children[1]),
                        "compare twice and join with &&, as in 1 < x && x < 5, or use parentheses",
                    )
                left, right = self._both(syntax)
                operator = cast(t.CompareOperator, str(syntax.children[1]))
                return t.Compare(operator=operator, left=left, right=right, span=span)
            case "arithmetic":
                left, right = self._both(syntax)
                sign = cast(t.ArithmeticOperator, str(syntax.children[1]))
                return t.Arithmetic(operator=sign, left=left, right=right, span=span)
            case "negate":
                return self._negate(cast(Syntax, syntax.children[-1]), span)
            case "call":
                return self.call(syntax)
            case "in_":
                return self.among(syntax)
            case "name" | "quoted_name":
                return self._name(cast(Token, syntax.children[0]))
            case _:
                return t.Literal(value=self._literal(syntax, 1), span=span)

    def _both(self, syntax: Syntax) -> tuple[t.Expression, t.Expression]:
        return (
            self.expression(cast(Syntax, syntax.children[0])),
            self.expression(cast(Syntax, syntax.children[-1])),
        )

    def _negate(self, operand: Syntax, span: Span) -> t.Expression:
        inner = _bare(operand)
        if inner.data in ("int", "float", "duration"):
            # The sign belongs to the number: -2**63 fits 64 bits though 2**63 does not.
            return t.Literal(value=self._literal(inner, -1), span=span)
        of = self.expression(operand)
        if isinstance(of, t.Literal) and type(of.value) in (int, float) and of.value != INT64_MIN:
            return t.Literal(value=-cast(float, of.value), span=span)
        return t.Arithmetic(operator="-", left=t.Literal(value=0, span=span), right=of, span=span)

    def _name(self, token: Token) -> t.Expression:
        name, span = str(token), _span(token)
        if token.type == "NAME":
            if name in ("true", "false"):
                return t.Literal(value=name == "true", span=span)
            if name in RESERVED:
                raise self.error(f"`{name}` is not a word of this language", token, _or_backticks(name))
            return t.Column(name=name, span=span)
        return t.Column(name=self._column_name(self._unquoted(token), token), span=span)

    def _column_name(self, name: str, at: Syntax | Token) -> str:
        if not name:
            raise self.error("a column name cannot be empty", at)
        return name

    def _unquoted(self, token: Token) -> str:
        try:
            return unquote(str(token))
        except EscapeMistake as mistake:
            start = _span(token)[0]
            raise self.error(
                str(mistake),
                (start + mistake.start, start + mistake.end),
                r"the escapes are \n \t \\ \" \' and \uXXXX; write \\ for a backslash",
            ) from None

    def _literal(self, syntax: Syntax, sign: int) -> bool | int | float | str:
        token = cast(Token, syntax.children[0])
        match syntax.data:
            case "string":
                return self._unquoted(token)
            case "duration":
                return sign * self._seconds(token)
            case "float":
                number = float(token)
                if number in (float("inf"), float("-inf")):
                    raise self.error(f"{_short(token)} is too large for a 64-bit float", token)
                return sign * number
            case _:
                digits = token.lstrip("0") or "0"
                whole = sign * int(digits) if len(digits) <= 19 else INT64_MAX + 1
                if not INT64_MIN <= whole <= INT64_MAX:
                    raise self.error(
                        f"{_short(token)} does not fit 64 bits", token, "write it as a float, such as 1e20"
                    )
                return whole

    def _microseconds(self, token: Token) -> int:
        match = cast("re.Match[str]", _DURATION.fullmatch(str(token)))
        unit = match[2]
        if unit not in MICROSECONDS:
            start = _span(token)[0]
            raise self.error(
                f"unknown unit `{unit}`",
                (start + match.start(2), start + match.end(2)),
                RESERVED.get(unit) or _nearest(unit, MICROSECONDS) or "the units are us, ms, s, m, h and d",
            )
        self._refuse_long(Fraction(match[1][:40]) * MICROSECONDS[unit], token)
        try:
            return parse_duration(f"{match[1]}{unit}")
        except (MetricError, ValueError):
            raise self.error(f"{_short(token)} is not a whole number of microseconds", token) from None

    def _refuse_long(self, microseconds: Fraction, at: Syntax | Token) -> None:
        if microseconds > MAX_WINDOW:
            raise self.error("a duration cannot be longer than 10,000 years", at)

    def _seconds(self, token: Token) -> int | float:
        microseconds = self._microseconds(token)
        if microseconds % 1_000_000 == 0:
            return microseconds // 1_000_000
        seconds = microseconds / 1_000_000
        if Fraction(repr(seconds)) * 1_000_000 != microseconds:
            raise self.error("a duration this long cannot be told to the microsecond in seconds", token)
        return seconds

    def among(self, syntax: Syntax) -> t.Expression:
        """``x in [a, b]``, which timelines do not have."""
        sign = cast(Token, syntax.children[1])
        hint = "compare with each and join them, as in x == 1 || x == 2"
        raise self.error("in [...] only stands in the expressions of streams", sign, hint)

    def call(self, syntax: Syntax) -> t.Expression:
        """A function over its arguments."""
        token, *rest = syntax.children
        name = str(cast(Token, token))
        arguments = cast(list[Syntax], rest)
        if name == "col":
            return self._col(syntax, arguments)
        if name in _AGGREGATE:
            raise self.error(
                "aggregate is the last step of an expression, not a part of one",
                cast(Token, token),
                "write EXPRESSION | aggregate(group_by(column), count, sum)",
            )
        if name == "changelog":
            return self._changelog(syntax, arguments)
        if name == "group_by":
            raise self.error("group_by only stands in aggregate(...)", cast(Token, token))
        if name in RESERVED:
            raise self.error(f"`{name}` is not a function", cast(Token, token), RESERVED[name])
        function = function_called(name)
        if function is None:
            known = [*_OURS, "aggregate", "group_by", "col", "changelog"]
            raise self.error(
                f"there is no function `{_short(name)}`",
                cast(Token, token),
                _nearest(name, known) or f"the functions are {', '.join(FUNCTIONS)}",
            )
        window = "window" in function.arguments
        self._count_arguments(syntax, name, arguments, len(function.arguments), window=window)
        column, within, operands = "", None, []
        for kind, argument in zip(function.arguments, arguments, strict=True):
            if kind == "column":
                column = self._column(name, argument)
            elif kind == "window":
                within = self._window(argument)
            else:
                operands.append(self.expression(argument))
        return function.call(operands, column, within, _span(syntax))

    def _count_arguments(
        self, syntax: Syntax, name: str, arguments: list[Syntax], wanted: int, window: bool = False
    ) -> None:
        count = "one argument" if wanted == 1 else f"{_COUNTS[wanted]} arguments"
        form = f"a duration such as 5s as its {_ORDINALS[wanted]} argument" if window else count
        if len(arguments) < wanted:
            end = _span(syntax)[1]
            raise self.error(f"{name} needs {form}", (end - 1, end))
        if len(arguments) > wanted:
            raise self.error(f"{name} takes {count}, not {len(arguments)}", arguments[wanted])

    def _col(self, syntax: Syntax, arguments: list[Syntax]) -> t.Column:
        self._count_arguments(syntax, "col", arguments, 1)
        if arguments[0].data != "string":
            raise self.error(
                "col needs a string, the name of a column", arguments[0], 'as in col("userAction")'
            )
        name = self._unquoted(cast(Token, arguments[0].children[0]))
        return t.Column(name=self._column_name(name, arguments[0]), span=_span(syntax))

    def _changelog(self, syntax: Syntax, arguments: list[Syntax]) -> t.Changelog:
        self._count_arguments(syntax, "changelog", arguments, 1)
        of = self.expression(arguments[0])
        if isinstance(of, t.Column) and of.name in CHANGELOG_KINDS:
            return t.Changelog(kind=cast(Any, of.name), span=_span(syntax))
        raise self.error(
            "changelog needs the kind of the timeline that is published",
            arguments[0],
            "write changelog(boolean), changelog(state), changelog(number) or changelog(numeric)",
        )

    def _column(self, function: str, argument: Syntax) -> str:
        of = self.expression(argument)
        if isinstance(of, t.Column):
            return of.name
        hint = 'comparisons come after it, as in latest_event_to_state(x) == "play"'
        if isinstance(of, t.Literal) and isinstance(of.value, str):
            hint = f'write {function}({of.value}) or {function}(col("{of.value}"))'
        elif function == "group_by":
            hint = "as in group_by(region)"
        raise self.error(f"{function} needs a column", argument, hint)

    def _window(self, argument: Syntax) -> int:
        inner = _bare(argument)
        match inner.data:
            case "duration":
                microseconds = self._microseconds(cast(Token, inner.children[0]))
            case "int" | "float":
                seconds = Fraction(str(self._literal(inner, 1)))
                self._refuse_long(seconds * 1_000_000, inner)
                if (seconds * 1_000_000).denominator != 1:
                    raise self.error("a window is a whole number of microseconds", inner)
                microseconds = int(seconds * 1_000_000)
            case "negate":
                microseconds = 0
            case _:
                raise self.error(
                    "expected a duration", argument, "write a number and a unit, such as 5s, 2m or 250ms"
                )
        if microseconds <= 0:
            raise self.error("a window must be longer than 0", argument, "as in 5s")
        return microseconds

    def _aggregate(self, syntax: Syntax, of: Syntax, call: Syntax) -> t.Expression:
        arguments = cast(list[Syntax], call.children[1:])
        form = "as in | aggregate(group_by(region), count, sum)"
        first = arguments[0] if arguments else call
        if first.data != "call" or first.children[0] != "group_by":
            raise self.error("expected group_by(column) as the first argument of aggregate", first, form)
        grouping = cast(list[Syntax], first.children[1:])
        self._count_arguments(first, "group_by", grouping, 1)
        group_by = self._column("group_by", grouping[0])
        functions: list[t.AggregateFunction] = []
        for argument in arguments[1:]:
            name = str(argument.children[0]) if argument.data == "name" else ""
            if name not in AGGREGATE_FUNCTIONS:
                raise self.error(
                    f"expected one of {', '.join(AGGREGATE_FUNCTIONS)}",
                    argument,
                    "write avg for the mean" if name == "mean" else _nearest(name, AGGREGATE_FUNCTIONS),
                )
            function = cast(t.AggregateFunction, name)
            if function in functions:
                raise self.error(f"`{name}` is there twice", argument)
            functions.append(function)
        if not functions:
            end = _span(call)[1]
            raise self.error("aggregate needs at least one function", (end - 1, end), form)
        return t.Aggregate(
            of=self.expression(of), group_by=group_by, functions=tuple(functions), span=_span(syntax)
        )


def _or_backticks(name: str) -> str:
    return f"{RESERVED[name]}; a column of that name is written `{name}` in backticks"


def _nearest(name: str, known: object) -> str:
    near = nearest(name, cast(dict[str, object], known))
    return f"did you mean {near}?" if near else ""


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
