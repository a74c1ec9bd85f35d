"""Expressions over events with the time of each, in whole seconds, in words: spans and values to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timeline_workers import evaluate

Span = tuple[float, Any, Any]


def spans(expression: str, events: Sequence[Mapping[str, Any]], until: float = 40) -> list[Span]:
    """(start, value, slope) of each span of key "k" from its origin to ``until``; slope 0 where
    there is none. Events that name no key are of "k"."""
    told = [{"key": "k", **event} for event in events]
    answer = evaluate(expression, told, key="key", time="t").spans("k", 0, until)
    return [(span.start, span.value, span.slope or 0) for span in answer.spans]


def values(
    expression: str, events: Sequence[Mapping[str, Any]], until: float = 40
) -> list[tuple[float, Any]]:
    """(start, value) of each span, of what has no slope."""
    found = spans(expression, events, until)
    assert all(slope == 0 for _, _, slope in found)
    return [(start, value) for start, value, _ in found]


def says(column: str, *at: tuple[float, Any]) -> list[dict[str, Any]]:
    """Events that give ``column`` a value each, at the second before it."""
    return [{"t": t, column: value} for t, value in at]
