"""Writes the list of operators in ``docs/language.md``: ``python docs/generate_operators.py``.

It is made from the rows of ``timeline_workers.language.operator_table``. A test compares the page with what
this makes, and another one runs the examples.
"""

from __future__ import annotations

import json
from pathlib import Path

from timeline_workers.language.operator_table import OPERATORS, Operator

PAGE = Path(__file__).with_name("language.md")
BEGIN = "<!-- operators: made by `python docs/generate_operators.py`; do not edit -->"
END = "<!-- end of operators -->"
_WORDS = {"events": "p", "condition": "p or x", "window": "d", "column": "column"}


def listed() -> str:
    """The list: a table with a line for each row."""
    head = ["| operator | kind | value at `t` | example over the events above |", "|---|---|---|---|"]
    return "\n".join([*head, *map(_line, OPERATORS.values())])


def page(text: str) -> str:
    """``text``, the page, with the list of today. Raises ValueError where it has no place for one."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{listed()}\n{END}{after}"


def _line(row: Operator) -> str:
    kind = row.gives.capitalize()
    if row.exact != "never":
        kind += ", with slope" if row.exact == "always" else ", with slope where an operand has one"
    example = f"`{row.example.text}` is `{json.dumps(row.example.value)}` at {row.example.at:g}"
    cells = (_written(row), kind, row.doc, example)
    # A pipe in a table would begin a new cell.
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _written(row: Operator) -> str:
    if not row.is_function:
        return " ".join(f"`{sign}`" for sign in row.signs)
    single = len(row.operands) == 1
    names = [_WORDS.get(kind) or ("x" if single else f"x{i}") for i, kind in enumerate(row.arguments, 1)]
    text = f"`{row.name}({', '.join(names)})`"
    return f"{text}, `{row.paper}`" if row.paper else text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
