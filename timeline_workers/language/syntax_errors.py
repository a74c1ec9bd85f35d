"""Syntax errors in people's words: from the parser's state to an ExpressionError."""

from __future__ import annotations

import re

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from timeline_workers.errors import ExpressionError

from .durations import MICROSECONDS
from .lexicon import RESERVED

_OPERAND = "a function, a column or a value"
_HINTS = {
    "=": "write == to compare",
    ".": "a number starts with a digit, as in 0.5",
    "%": "the arithmetic operators are + - * /",
    **dict.fromkeys("“”‘’", "write plain quotes: \" or '"),
}


def explain(text: str, tokens: list[Token], mistake: UnexpectedInput) -> ExpressionError:
    """Return the error to raise for what the parser met after ``tokens``."""
    if isinstance(mistake, UnexpectedCharacters):
        assert mistake.pos_in_stream is not None
        return _character(text, mistake.pos_in_stream)
    assert isinstance(mistake, UnexpectedToken)
    return _token(text, tokens, mistake)


def _character(text: str, at: int) -> ExpressionError:
    character = text[at]
    line_end = text.find("\n", at)
    line_end = len(text) if line_end < 0 else line_end
    if character in "\"'`":
        what = "column name" if character == "`" else "string"
        hint = f"end it with {character} on the same line; write \\n for a line break"
        return ExpressionError(f"this {what} is never closed", text=text, span=(at, line_end), hint=hint)
    number = re.compile(r"[\w.]+").match(text, at)
    if number is not None and character.isdigit():
        return ExpressionError(
            f"{number[0][:40]} is not a number",
            text=text,
            span=number.span(),
            hint="numbers are written as 5, 0.5 or 1e6, durations as 5s",
        )
    shown = character if character.isprintable() else repr(character)
    return ExpressionError(
        f"unexpected character {shown}", text=text, span=(at, at + 1), hint=_HINTS.get(character, "")
    )


def _token(text: str, tokens: list[Token], mistake: UnexpectedToken) -> ExpressionError:
    token: Token = mistake.token
    at_end = token.type == "$END"
    before = tokens[-1] if tokens else None
    wants_operand = "NAME" in mistake.expected
    if at_end:
        end = len(text.rstrip())
        span, found = (end, end + 1), "the end"
    else:
        span, found = _span(token), f"`{_short(token)}`"

    def error(message: str, where: tuple[int, int] = span, hint: str = "") -> ExpressionError:
        return ExpressionError(message, text=text, span=where, hint=hint)

    word = _word(before) if before is not None else None
    if before is not None and word is not None and not wants_operand:
        name, where = word
        hint = RESERVED.get(name) or "the units are us, ms, s, m, h and d"
        return error(f"`{name}` is not an operator", where, hint)
    if token.type == "NAME" and not wants_operand and token in RESERVED:
        return error(f"`{token}` is not an operator", hint=RESERVED[token])
    if before is None and at_end:
        return error("the expression is empty", (0, 1), 'write one such as has_existed(event == "play")')
    unclosed = _unclosed(tokens)
    if token.type == "RPAR" and unclosed is None:
        return error("this ) closes nothing")
    if wants_operand:
        if before is not None and token.type == "COMPARE" and before.type == "COMPARE":
            both = (_span(before)[0], span[1])
            shown = text[slice(*both)]
            return error(f"`{_short(shown)}` is not an operator", both, "the comparisons are == != < <= > >=")
        if token.type in ("BANG", "TILDE") and before is not None:
            hint = f"put it in parentheses: {before} ({token} ...)"
            return error(f"{found} cannot follow `{before}`", hint=hint)
        after = f" after `{_short(before)}`" if before is not None else ""
        return error(f"expected {_OPERAND}{after}, found {found}")
    if at_end and unclosed is not None:
        return error("this ( is never closed", _span(unclosed))
    if token.type == "COMMA":
        return error("a comma only separates the arguments of a function")
    expected = "an operator such as && or ==" + (", or a closing )" if unclosed is not None else "")
    return error(f"expected {expected} before {found}")


def _word(token: Token) -> tuple[str, tuple[int, int]] | None:
    """The word and/or/not, or an unknown unit, that ``token`` holds where an operator was meant."""
    start, end = _span(token)
    if token.type == "NAME" and token in RESERVED and RESERVED[token]:
        return str(token), (start, end)
    if token.type == "DURATION":
        unit = token.lstrip("0123456789. \t\r\n\f\v")
        if unit not in MICROSECONDS:
            return unit, (end - len(unit), end)
    return None


def _unclosed(tokens: list[Token]) -> Token | None:
    stack: list[Token] = []
    for token in tokens:
        if token.type == "LPAR":
            stack.append(token)
        elif token.type == "RPAR":
            stack.pop()
    return stack[-1] if stack else None


def _span(token: Token) -> tuple[int, int]:
    start, end = token.start_pos, token.end_pos
    assert start is not None
    assert end is not None
    return start, end


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
