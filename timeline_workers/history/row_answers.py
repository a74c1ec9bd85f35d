"""Answers of stores from the rows that they select, the same for every store. No I/O.

A row of a piece has, in this order: node, key, began, until, value, slope, seen_from, seen_until; one of what
changed: node, key, since, until, seen. Keys, values and slopes are text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .model import Changed, Changes, Piece, PieceCursor
from .text import key_of, key_text, slope_of, value_of


def piece_of(row: Sequence[Any]) -> Piece:
    """The piece of a row."""
    node, key, start, until, value, slope, seen_from, seen_until = row
    return Piece(node, key_of(key), start, until, value_of(value), slope_of(slope), seen_from, seen_until)


def changes_of(rows: Iterable[Sequence[Any]], upto: int, seen: int, last: int) -> Changes:
    """What changed after ``seen`` and until ``upto``; ``last``: the store's last system time."""
    changed = [Changed(node, key_of(key), since, end, when) for node, key, since, end, when in rows]
    return Changes(max(upto, min(seen, last)), changed)


def narrowed(start: int, end: int, after: int | None, backwards: bool) -> tuple[int, int]:
    """What of a window there is left to look at after a place at this time."""
    if after is None:
        return start, end
    return (start, min(end, after + 1)) if backwards else (max(start, after), end)


def wants_carried(
    inside: Sequence[Piece],
    start: int,
    *,
    carried: bool,
    backwards: bool,
    after: PieceCursor | None,
    limit: int | None,
) -> bool:
    """Whether pieces that began before a window are part of the answer, beside those that began in it."""
    if not carried or (after is not None and not backwards and after.start >= start):
        return False
    return not (backwards and limit is not None and len(inside) >= limit)


def with_carried(
    inside: list[Piece],
    holding: Iterable[Piece],
    start: int,
    *,
    backwards: bool,
    after: PieceCursor | None,
    limit: int | None,
) -> list[Piece]:
    """The pieces that began in a window, and of those that hold at its start the ones that began before."""
    before = sorted((piece for piece in holding if piece.start < start), key=_order, reverse=backwards)
    if after is not None:
        last = (after.start, after.node, key_text(after.key))
        before = [piece for piece in before if (_order(piece) < last if backwards else _order(piece) > last)]
    return (inside + before if backwards else before + inside)[:limit]


def _order(piece: Piece) -> tuple[int, str, str]:
    return piece.start, piece.node, key_text(piece.key)
