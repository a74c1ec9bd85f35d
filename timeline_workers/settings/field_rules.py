"""Field rules: what is wrong with a value that a model refuses, with the fix, in plain words.

For settings and for metric files alike, instead of the sentences of the library that checks models.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

_WHOLE = frozenset({"int_parsing", "int_type", "int_from_float", "int_parsing_size"})
_NUMBER = frozenset({"float_parsing", "float_type", "finite_number"})
_BOUND = frozenset({"greater_than_equal", "less_than_equal", "greater_than", "less_than"})
_TRUTH = frozenset({"bool_parsing", "bool_type"})


def broken_rule(error: ErrorDetails, bounds: Iterable[Any] = ()) -> str:
    """The rule that a value breaks and what to write instead, to stand after the value.

    ``bounds``: what is known of the field's bounds (``FieldInfo.metadata``), so that the fix names them all.
    """
    kind, context = error["type"], error.get("ctx", {})
    low, high = _bounds(bounds)
    if kind in _BOUND:
        over = kind.startswith("less")
        limit = next(iter(context.values()))
        low, high = (low, limit if high is None else high) if over else (limit if low is None else low, high)
        return f"is too {'large' if over else 'small'}; write a number{_range(low, high)}"
    if kind in _WHOLE:
        return f"is not a whole number; write one{_range(low, high)}"
    if kind in _NUMBER:
        return f"is not a finite number; write one{_range(low, high) or ', such as 60'}"
    if kind in _TRUTH:
        return "is neither true nor false; write true or false"
    if kind == "literal_error":
        return f"is not one of the words that go here; write {context.get('expected', '')}"
    if kind == "string_too_short":
        return "is empty; write a name, or leave it out"
    if kind == "string_type":
        return "is not text; put it in quotes"
    if kind in ("dict_type", "model_type", "mapping_type"):
        return "is not a mapping; write NAME: VALUE for each entry"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return f"does not go here ({error['msg']}); write another value, or leave it out"


def _bounds(metadata: Iterable[Any]) -> tuple[Any, Any]:
    low = high = None
    for rule in metadata:
        low = getattr(rule, "ge", low)
        high = getattr(rule, "le", high)
    return low, high


def _range(low: Any, high: Any) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", {low} or more"
    return "" if high is None else f", {high} at most"
