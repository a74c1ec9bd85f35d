"""Questions about events to the SQLite store. Calls block; see ``sqlite_read``.

A question reads blocks of verdicts (``sqlite_verdicts``), and of events only what it answers with.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Bools, Int64
from timeline_workers.errors import QuestionError

from .model import EventCursor, KeysActive, Outcome, Position, StoredEvent
from .row_answers import narrowed
from .sqlite_events import events_at
from .sqlite_read import check_kept, definition_number, key_numbers
from .sqlite_verdicts import Candidates, Found, block_at, candidates
from .text import key_of
from .verdict_block import VerdictBlock
from .verdicts import OUTCOMES, code_of

# Columns of what was found, a row an event.
_TIME, _PARTITION, _MAJOR, _MINOR, _CODE, _KEY, _SEEN, _BLOCK, _ROW = range(9)
Table = NDArray[np.int64]


def events(
    connection: sqlite3.Connection,
    definition: str,
    start: int,
    end: int,
    *,
    keys: Sequence[Key] | None,
    outcomes: Iterable[Outcome],
    as_of: int | None,
    seen_after: int | None,
    backwards: bool,
    after: EventCursor | None,
    limit: int | None,
) -> list[StoredEvent]:
    """See ``HistoryStore``."""
    number = definition_number(connection, definition)
    check_kept(connection, start, "definitions", [number])
    start, end = narrowed(start, end, after and after.time, backwards)
    of_keys = None if keys is None else key_numbers(connection, keys)
    asked = np.zeros(2 * len(OUTCOMES), np.bool_)
    asked[[code_of(outcome, below) for outcome in outcomes for below in (False, True)]] = True

    def wanted(block: VerdictBlock) -> Bools:
        found = asked[block.code] & _known(block, as_of, of_keys)
        return found if seen_after is None else found & (block.seen > seen_after)

    found: list[Table] = []
    for stretch in candidates(
        connection, number, start, end, keys=of_keys, seen_after=seen_after, backwards=backwards
    ):
        left = None if limit is None else limit - sum(map(len, found))
        found.append(_in_order(connection, stretch, wanted, backwards, after, left))
        if limit is not None and sum(map(len, found)) >= limit:
            break
    rows = np.concatenate(found)[:limit] if found else np.zeros((0, 9), np.int64)
    return _stored(connection, number, rows)


def _known(block: VerdictBlock, as_of: int | None, keys: Sequence[int] | None) -> Bools:
    """Which verdicts are on an event with a time, of these keys, and were known by then."""
    found = block.timed.copy()
    if as_of is not None:
        found &= block.seen <= as_of
    if keys is not None:
        found &= np.isin(block.key, np.array(keys, np.int64))
    return found


def _in_order(
    connection: sqlite3.Connection,
    stretch: Candidates,
    wanted: Any,
    backwards: bool,
    after: EventCursor | None,
    limit: int | None,
) -> Table:
    """The first ``limit`` events of a stretch, in order. Blocks are read from its begin on, and no further
    than to where none that is left has an event among them.
    """
    blocks = sorted(stretch.blocks, key=(lambda one: -one.last) if backwards else (lambda one: one.first))
    found: list[Table] = []
    look = 1
    for place, one in enumerate(blocks):
        if limit is not None and place == look:
            look *= 2
            times = np.concatenate(found)[:, _TIME]
            final = times > one.last if backwards else times < one.first
            if int(final.sum()) >= limit:
                break
        table = _rows(connection, one, stretch, wanted)
        found.append(table if after is None else table[_beyond(table, after, backwards)])
    if not found:
        return np.zeros((0, 9), np.int64)
    table = np.concatenate(found)
    if limit is not None and len(table) > limit:
        times, last = table[:, _TIME], len(table) - limit if backwards else limit - 1
        bound = np.partition(times, last)[last]
        table = table[times >= bound if backwards else times <= bound]
    order = np.lexsort((table[:, _MINOR], table[:, _MAJOR], table[:, _PARTITION], table[:, _TIME]))
    return table[order[::-1] if backwards else order][:limit]


def _rows(connection: sqlite3.Connection, one: Found, stretch: Candidates, wanted: Any) -> Table:
    block = block_at(connection, one.number)
    inside = wanted(block) & (block.time >= stretch.start) & (block.time < stretch.end)
    rows = np.flatnonzero(inside)
    table = np.empty((len(rows), 9), np.int64)
    table[:, _PARTITION], table[:, _BLOCK], table[:, _ROW] = one.partition, one.number, rows
    for at, column in (
        *((_TIME, block.time), (_MAJOR, block.major), (_MINOR, block.minor)),
        *((_CODE, block.code), (_KEY, block.key), (_SEEN, block.seen)),
    ):
        table[:, at] = column[rows]
    return table


def _beyond(table: Table, after: EventCursor, backwards: bool) -> Bools:
    """Which rows come after a place."""
    place = (after.time, *after.position)
    beyond = np.zeros(len(table), np.bool_)
    same = np.ones(len(table), np.bool_)
    for column, at in enumerate(place):
        values = table[:, column]
        beyond |= same & (values < at if backwards else values > at)
        same &= values == at
    return beyond


def _stored(connection: sqlite3.Connection, definition: int, rows: Table) -> list[StoredEvent]:
    if not len(rows):
        return []
    (topic,) = connection.execute("select topic from definitions where id = ?", (definition,)).fetchone()
    columns = [rows[:, at].tolist() for at in range(9)]
    positions = list(map(Position, columns[_PARTITION], columns[_MAJOR], columns[_MINOR]))
    payloads = events_at(connection, topic, positions)
    words = {number: block_at(connection, number).words for number in set(columns[_BLOCK])}
    names = _names(connection, set(columns[_KEY]))
    found = []
    told = zip(*(columns[at] for at in (_TIME, _CODE, _KEY, _SEEN, _BLOCK, _ROW)), strict=True)
    for position, (time, code, key, seen, block, row) in zip(positions, told, strict=True):
        reason, message = words[block].get(row, (None, None))
        found.append(
            StoredEvent(
                position,
                *payloads[position],
                names[key],
                time,
                OUTCOMES[code // 2],
                reason or "",
                message or "",
                bool(code % 2),
                seen,
            )
        )
    return found


def _names(connection: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, Key | None]:
    """The keys of these numbers; None for -1."""
    rows = connection.execute(f"select id, name from keys where id in ({_listed(numbers)})")
    return {-1: None, **{number: cast(Key, key_of(name)) for number, name in rows}}


def _blocks(
    connection: sqlite3.Connection, definition: int, start: int, end: int, keys: Sequence[int] | None
) -> Iterator[tuple[VerdictBlock, Bools]]:
    """Each block with the verdicts that are in a stretch of the window."""
    for stretch in candidates(connection, definition, start, end, keys=keys, seen_after=None):
        for one in stretch.blocks:
            block = block_at(connection, one.number)
            yield block, (block.time >= stretch.start) & (block.time < stretch.end)


def keys_active(
    connection: sqlite3.Connection, definition: str, start: int, end: int, *, as_of: int | None, limit: int
) -> KeysActive:
    """See ``HistoryStore``."""
    number = definition_number(connection, definition)
    check_kept(connection, start, "definitions", [number])
    accepted = code_of(Outcome.ACCEPTED, False)
    found: list[Int64] = [
        block.key[inside & _known(block, as_of, None) & (block.code == accepted)]
        for block, inside in _blocks(connection, number, start, end, None)
    ]
    keys, many = np.unique(np.concatenate(found) if found else np.zeros(0, np.int64), return_counts=True)
    least = np.sort(many)[-limit] if len(many) > limit else 0
    busiest = dict(zip(keys[many >= least].tolist(), many[many >= least].tolist(), strict=True))
    names = connection.execute(f"select id, name from keys where id in ({_listed(busiest)})").fetchall()
    order = sorted(((-busiest[key], name) for key, name in names))[:limit]
    return KeysActive(len(keys), [(cast(Key, key_of(name)), -count) for count, name in order])


def density(
    connection: sqlite3.Connection,
    definition: str,
    start: int,
    end: int,
    buckets: int,
    *,
    keys: Sequence[Key] | None,
    as_of: int | None,
) -> Mapping[Outcome, list[int]]:
    """See ``HistoryStore``."""
    if buckets < 1 or end <= start:
        raise QuestionError(
            f"{buckets} parts of [{start}, {end}): a window that ends after it starts has at least 1"
        )
    number = definition_number(connection, definition)
    check_kept(connection, start, "definitions", [number])
    width = -((start - end) // buckets)
    of_keys = None if keys is None else key_numbers(connection, keys)
    counted = np.zeros((len(OUTCOMES), buckets), np.int64)
    for block, inside in _blocks(connection, number, start, end, of_keys):
        rows = np.flatnonzero(inside & _known(block, as_of, of_keys))
        place = (block.code[rows] // 2) * buckets + (block.time[rows] - start) // width
        counted += np.bincount(place, minlength=counted.size).reshape(counted.shape)
    return {outcome: line.tolist() for outcome, line in zip(OUTCOMES, counted, strict=True) if line.any()}


def origins(connection: sqlite3.Connection, definition: str, keys: Sequence[Key] | None) -> Mapping[Key, int]:
    """See ``HistoryStore``."""
    of_keys = "" if keys is None else f"and o.key in ({_listed(key_numbers(connection, keys))})"
    found = connection.execute(
        f"select k.name, o.first from origins o join keys k on k.id = o.key where o.definition = ? {of_keys}",
        (definition_number(connection, definition),),
    )
    return {cast(Key, key_of(name)): first for name, first in found}


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
