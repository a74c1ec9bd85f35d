"""Written text: an argument or a setting that came in bytes, which must be text before it is used."""

from __future__ import annotations

from collections.abc import Sequence

from timeline_workers.errors import QuestionError


def text_problem(text: str) -> str | None:
    """What is wrong with ``text`` as Python has it from the system, with the fix; None when nothing is.

    Bytes that are not UTF-8 come as halves of surrogate pairs, which no server takes.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return "its bytes are not UTF-8 text; write it in UTF-8"
    return None


def refuse_bytes(arguments: Sequence[str]) -> None:
    """Raise QuestionError for the first of a program's ``arguments`` that is no text."""
    for place, argument in enumerate(arguments, 1):
        if problem := text_problem(argument):
            before = f", after {arguments[place - 2]!r}" if place > 1 else ""
            raise QuestionError(f"argument {place}{before}, {argument!r}: {problem}")
