"""The words and quoting of the text grammar: shared by the parser, the printer and the builder.

``grammar.lark`` holds the same name pattern; the round-trip tests hold the two together.
"""

from __future__ import annotations

import re

from .operator_table import OPERATORS

FUNCTIONS = {row.name: row.paper or row.name for row in OPERATORS.values() if row.is_function}
"""Our name of each function, and the paper's; our own where the paper has none."""

CHANGELOG_KINDS = ("boolean", "state", "number", "numeric")

AGGREGATE_FUNCTIONS = ("count", "sum", "avg", "min", "max")

RESERVED = {
    "true": "",
    "false": "",
    "and": "write && (or &) for and",
    "or": "write || (or |) for or",
    "not": "write ! (or ~) for not",
    "True": "write true",
    "False": "write false",
    "null": "there is no null to compare with: a comparison is False wherever a side is unknown",
    "None": "there is no null to compare with: a comparison is False wherever a side is unknown",
}
"""Words that are no column unless in backticks, with what to write instead."""

NAME = re.compile(r"[^\W\d]\w*(?:\.\w+)*")

MAX_LENGTH = 65_536

# 10,000 years: the longest that times in years 1-9999 can tell apart.
MAX_WINDOW = 10_000 * 365 * 86_400_000_000

_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'", "`": "`"}
_ESCAPED = {"\n": "\\n", "\t": "\\t", "\\": "\\\\"}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.?)", re.DOTALL)


class EscapeMistake(ValueError):
    """A wrong escape: ``start`` and ``end`` are offsets in the quoted text."""

    def __init__(self, message: str, start: int, end: int) -> None:
        self.start, self.end = start, end
        super().__init__(message)


def unquote(quoted: str) -> str:
    r"""Return what ``quoted`` (with its quotes) stands for; ``\uXXXX`` pairs of surrogates are joined.

    Raises EscapeMistake for an unknown escape or half a surrogate pair.
    """
    out: list[str] = []
    end = 1
    for match in _ESCAPE.finditer(quoted, 1, len(quoted) - 1):
        out.append(quoted[end : match.start()])
        code = match[1]
        if code[:1] == "u" and len(code) == 5:
            out.append(chr(int(code[1:], 16)))
        elif code in _ESCAPES:
            out.append(_ESCAPES[code])
        else:
            raise EscapeMistake(f"unknown escape {match[0]}", match.start(), match.end())
        end = match.end()
    out.append(quoted[end:-1])
    text = "".join(out)
    try:
        # Joins surrogate pairs, and refuses halves, which no UTF-8 event can hold.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise EscapeMistake("half of a surrogate pair is no character", 0, len(quoted)) from None


def quote(text: str, mark: str = '"') -> str:
    r"""Return ``text`` quoted, so that ``unquote`` reads it back; unprintables as ``\uXXXX``."""
    return mark + "".join(_escape(c, mark) for c in text) + mark


def _escape(character: str, mark: str) -> str:
    if character == mark:
        return "\\" + mark
    if character in _ESCAPED:
        return _ESCAPED[character]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def column_text(name: str) -> str:
    """Return how ``name`` is written as a column: bare where possible, else in backticks."""
    return name if NAME.fullmatch(name) and name not in RESERVED else quote(name, "`")
