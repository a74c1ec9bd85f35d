"""Reasons why a payload is not a JSON object, in words for the person who sent it.

The fast parser names a byte; that helps with a missing brace, and hides the usual mistakes: a NaN that
Python's own ``json.dumps`` wrote, half of a surrogate pair, a byte order mark, nothing at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_NAMES = {list: "an array", str: "a string", bool: "a bool", int: "a number", float: "a number"}
DEEP = "the event is nested too deeply"


class _Constant:
    """Stands where the text has NaN, Infinity or -Infinity."""

    def __init__(self, name: str) -> None:
        self.name = name


def not_an_object(value: object) -> str:
    """What to say of JSON, or of a Python value given as an event, that is no object."""
    shown = "null" if value is None else _NAMES.get(type(value), f"one {type(value).__name__}")
    return f"the event is {shown}, not a JSON object"


def not_json(text: str, error: Exception) -> str:
    """Why ``text`` is not JSON; ``error`` is what the parser that refused it said."""
    if not text.strip():
        return "the event is empty, not a JSON object"
    if text.startswith("\ufeff"):
        return "the event starts with a byte order mark; send UTF-8 without one"
    try:
        event = json.loads(text, parse_int=lambda digits: 0, parse_constant=_Constant)
    except RecursionError:
        return DEEP
    except ValueError:
        return f"the event is not JSON: {str(error).removeprefix('JSON is malformed: ')}"
    try:
        for path, value in _leaves(event, ""):
            if isinstance(value, _Constant):
                return (
                    f"field {path!r} has {value.name}, which JSON does not have; send null, or leave it out"
                )
            if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
                return f"field {path!r} has half of a surrogate pair, which is no text"
    except RecursionError:
        return DEEP
    return f"the event is not JSON: {error}"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield path, name
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, value
