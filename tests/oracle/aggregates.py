"""Aggregates across keys, by brute force over the timelines of ``oracle.py``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations

from tests.oracle.events import Event
from tests.oracle.numbers import Value, exact, is_number, mean, same, total
from tests.oracle.oracle import Piece, Pieces, canonical, crossings, is_exact, piece_at, timelines, value_of
from timeline_workers.language import tree

Group = bool | int | float | str | None


def groups(expression: tree.Aggregate, events: Iterable[Event]) -> list[Value]:
    """The groups that ever held a key; 1 and 1.0 are one group, True and 1 are two."""
    members = timelines(tree.LatestEventToState(column=expression.group_by), events)
    found: list[Value] = []
    for pieces in members.values():
        for piece in pieces:
            if not any(same(piece.value, group) for group in found):
                found.append(piece.value)
    return found


def aggregate(expression: tree.Aggregate, events: Iterable[Event], group: Value, function: str) -> Pieces:
    """One group's timeline, from the first instant at which a key is in the group."""
    events = list(events)
    member = timelines(tree.LatestEventToState(column=expression.group_by), events)
    value = timelines(expression.of, events)
    starts = sorted({p.start for pieces in (*member.values(), *value.values()) for p in pieces})
    result: Pieces = []
    for i, start in enumerate(starts):
        end = starts[i + 1] if i + 1 < len(starts) else math.inf
        inside = [
            piece
            for key, pieces in value.items()
            if (piece := piece_at(pieces, start)) is not None and same(value_of(member[key], start), group)
        ]
        if not inside and not result:
            continue
        if function == "count":
            result.append(Piece(start, len(inside)))
        else:
            result += _over(function, [p for p in inside if p.value is not None], start, end)
    return canonical(result)


def _over(function: str, pieces: Pieces, start: int, end: float) -> Pieces:
    """Sum, average, least or greatest of known pieces over one stretch without new pieces."""
    if not pieces:
        return [Piece(start, None)]
    values = [_number(p.at(start)) for p in pieces]
    if function in ("sum", "avg"):
        slope = sum((p.slope for p in pieces), start=exact(0))
        if function == "avg":
            return [Piece(start, mean(values), slope / len(pieces))]
        return [Piece(start, total(values), slope)]
    sign = 1 if function == "min" else -1
    instants = {start}
    for a, b in combinations(pieces, 2):
        instants.update(crossings(a, b, start, end))
    lines = [Piece(start, v, p.slope) for v, p in zip(values, pieces, strict=True)]
    extremes = []
    for t in sorted(instants):
        # Of lines that meet at t, the one that is outermost right after; of 1 and 1.0, the int.
        best = min(
            lines, key=lambda p: (sign * _ordinal(p.at(t)), sign * p.slope, isinstance(p.value, float))
        )
        extremes.append(Piece(t, best.at(t), best.slope))
    return extremes


def _number(value: Value) -> Value:
    """True counts as 1 and False as 0."""
    return int(value) if isinstance(value, bool) else value


def _ordinal(value: Value) -> int | float:
    assert is_number(value)
    return value  # type: ignore[return-value]


__all__ = ["Group", "aggregate", "groups", "is_exact"]
