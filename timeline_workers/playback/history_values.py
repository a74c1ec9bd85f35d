"""Values of a history's pieces as the player says them: exact numbers as ints, or the nearest floats."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import cast

from timeline_workers.events.times import LATEST
from timeline_workers.history import model as history
from timeline_workers.history.store import HistoryStore

from .items import Change, NodeLevel, Piece, Revision, Scalar


def shown(value: history.Value) -> Scalar:
    """A value: a whole fraction as an int."""
    if not isinstance(value, Fraction):
        return value
    return value.numerator if value.denominator == 1 else value.numerator / value.denominator


def slope_of(piece: history.Piece) -> int | float | None:
    """The slope of a piece."""
    return cast("int | float | None", shown(piece.slope))


def value_at(piece: history.Piece, at: int) -> Scalar:
    """The value of a piece at an instant that it holds at."""
    if piece.slope is None or not isinstance(piece.value, Fraction | int):
        return shown(piece.value)
    return shown(piece.value + piece.slope * Fraction(at - piece.start, 1_000_000))


def change_of(piece: history.Piece) -> Change:
    """The change with which a piece begins."""
    return Change(piece.start, piece.start, piece.node, piece.key, shown(piece.value), slope_of(piece))


def level_of(piece: history.Piece, at: int, watermark: int | None) -> NodeLevel:
    """The level that a piece is at ``at``."""
    final = watermark is not None and at < watermark
    value = value_at(piece, at)
    return NodeLevel(piece.node, piece.key, value, piece.start, piece.until, final, slope_of(piece))


async def revision_of(store: HistoryStore, changed: history.Changed, upto: int) -> Revision:
    """What a timeline is now from where it changed, up to ``upto``."""
    end = min(upto, LATEST) + 1
    found = await store.pieces([changed.node], changed.since, end, keys=[changed.key])
    return Revision(
        changed.since,
        changed.node,
        changed.key,
        changed.since,
        pieces_from(found, changed.since),
        seq=changed.seen,
    )


def pieces_from(pieces: Iterable[history.Piece], start: int) -> tuple[Piece, ...]:
    """What a timeline is from ``start`` on; the piece that holds there begins there."""
    return tuple(
        Piece(begins, value_at(one, begins), slope_of(one))
        for one in pieces
        if one.until is None or one.until > start
        for begins in [max(one.start, start)]
    )
