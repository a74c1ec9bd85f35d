"""Rows of one lane, a key at a node, as stores write them, and which of them a revision changes. No I/O.

A row is a change point, ``(began, value, slope)`` with value and slope as text: from ``began`` on the
timeline is that, until the next row begins. Rows are ascending by ``began``, and none only continues the one
before it. When a row ends is not stored: it follows from the next one that was known at the same system time,
so that an event in its order adds rows and changes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from timeline_workers.columns.rows import FOREVER

from .model import Group, Revision, Value
from .text import key_text, slope_text, value_of, value_text

MILLION = 1_000_000


class Row(NamedTuple):
    """A change point of one lane."""

    began: int
    value: str
    slope: str | None


class Difference(NamedTuple):
    """What to do with the rows that are held: ``gone`` are superseded, ``new`` are to be written."""

    gone: list[Row]
    new: list[Row]


def row_of(start: int, value: Value, slope: Fraction | None) -> Row:
    """A piece as a row; a value that has a slope is written as a fraction."""
    if slope is not None and value is not None and not isinstance(value, Fraction | str):
        value = Fraction(value)
    return Row(start, value_text(value), slope_text(slope))


def continues(before: Row, row: Row) -> bool:
    """Whether ``row`` only says what ``before`` says of all instants from there on."""
    if before.slope != row.slope:
        return False
    if before.slope in (None, "0"):
        return before.value == row.value
    then, now = value_of(before.value), value_of(row.value)
    if not isinstance(then, Fraction) or not isinstance(now, Fraction):
        return then is None and now is None
    return then + Fraction(before.slope) * (row.began - before.began) / MILLION == now


def by_key(revisions: Iterable[Revision]) -> dict[str, list[Revision]]:
    """The revisions of each key, in their order; by the key's text."""
    found: dict[str, list[Revision]] = {}
    texts: dict[tuple[type, Group], str] = {}
    for revision in revisions:
        typed = (type(revision.key), revision.key)
        text = texts.get(typed)
        if text is None:
            text = texts[typed] = key_text(revision.key)
        found.setdefault(text, []).append(revision)
    return found


def difference(held: Sequence[Row], revisions: Sequence[Revision]) -> Difference:
    """What ``revisions`` of one key, taken in their order, change.

    ``held``: the rows that are known now, at least the last one before the least ``since`` and all after it.
    A row that comes out as it was is in neither list. Raises ValueError for pieces that do not ascend from
    ``since`` on.
    """
    rows = list(held)
    for revision in revisions:
        kept = [row for row in rows if row.began < revision.since]
        earliest = revision.since
        for piece in revision.pieces:
            row = row_of(*piece)
            if row.began < earliest:
                raise ValueError(
                    f"a piece of {revision.key!r} starts at {row.began}; pieces of a revision ascend, and "
                    f"this one may start at {earliest} or later"
                )
            earliest = row.began + 1
            if not (kept and continues(kept[-1], row)):
                kept.append(row)
        rows = kept
    old, now = set(held), set(rows)
    return Difference([row for row in held if row not in now], [row for row in rows if row not in old])


def above(revision: Revision, kept_from: int | None) -> Revision:
    """``revision`` without its pieces that end by ``kept_from``: told again, they are not stored again."""
    if kept_from is None or revision.since >= kept_from:
        return revision
    begun = sum(start <= kept_from for start, _, _ in revision.pieces)
    if not begun:
        return revision
    return Revision(revision.key, revision.pieces[begun - 1][0], revision.pieces[begun - 1 :])


def since_of(revisions: Sequence[Revision]) -> int:
    """The instant from which revisions of one key may change it."""
    return min((revision.since for revision in revisions), default=FOREVER)
