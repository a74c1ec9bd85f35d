"""Forgetting in the SQLite store. Calls block, on the thread of the writing connection.

What is deleted is deleted in parts of some thousand rows, or some blocks, a transaction each, so that appends
wait for one of them at most. The bound that questions are held to rises first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from .model import Forgotten, Position, Scope
from .sqlite_append import Appender
from .sqlite_events import drop_events, old_events, published_at
from .sqlite_key_runs import forget_runs
from .sqlite_verdicts import blocks_before, judged, keep_verdicts
from .verdict_block import unpack_block

PART = 2_000
BLOCKS = 4

# A piece is needed below ``before`` by nobody who asks from there on, if at all times at which it was known
# another one was, too, that begins after it and by then.
_ENDED = """
delete from pieces where id in (
    select p.id from pieces p where p.node = ?1 and p.key = ?2 and p.began < ?3 and exists (
        select 1 from pieces later where later.key = p.key and later.node = p.node
            and later.began > p.began and later.began <= ?3 and later.seen_from <= p.seen_from
            and (later.seen_until is null or later.seen_until >= p.seen_until)))
"""
_IDLE = """
delete from pieces where node = ?1 and key = ?2 and not exists (
    select 1 from pieces p where p.node = ?1 and p.key = ?2 and p.began >= ?3)
"""


# Events without a verdict lie below all that is kept by any definition of their topic, or of the store.
_UNJUDGED = """
select t.id, max(coalesce(min(coalesce(d.kept_from, ?1)), ?1), (select coalesce(kept_from, ?1) from store))
from topics t left join definitions d on d.topic = t.id group by t.id
"""
_NEVER = -(2**62)


def forget(appender: Appender, before: int, idle: int | None, of: Scope | None) -> Iterator[Forgotten]:
    """Forget, a part for each step; see ``HistoryStore``."""
    connection = appender.connection
    run = connection.execute
    with appender.forgetting():
        definitions = _raised(connection, "definitions", before, None if of is None else of.definitions)
        nodes = _raised(connection, "nodes", before, None if of is None else of.nodes)
        if of is None:
            run("update store set kept_from = max(coalesce(kept_from, ?1), ?1)", (before,))
    for definition in definitions:
        yield from _forget_verdicts(appender, definition, before)
    for topic, kept_from in run(_UNJUDGED, (_NEVER,)).fetchall():
        yield from _forget_unjudged(appender, connection, topic, kept_from)
    for node in nodes:
        yield from _forget_pieces(appender, connection, node, before, idle)


def _raised(
    connection: sqlite3.Connection, table: str, before: int, names: Sequence[str] | None
) -> list[int]:
    """Raise the bound of these rows of ``table``, None: of all; their numbers."""
    run = connection.execute
    if names is None:
        return [row[0] for row in run(f"select id from {table}")]
    raised = f"update {table} set kept_from = max(coalesce(kept_from, ?1), ?1) where name = ?2 returning id"
    return [row[0] for name in names for row in run(raised, (before, name)).fetchall()]


def _forget_pieces(
    appender: Appender, connection: sqlite3.Connection, node: int, before: int, idle: int | None
) -> Iterator[Forgotten]:
    last = -1
    while lanes := connection.execute(
        "select node, key from lanes where node = ? and key > ? order by key limit ?", (node, last, PART)
    ).fetchall():
        with appender.forgetting():
            was = connection.total_changes
            connection.executemany(_ENDED, [(*lane, before) for lane in lanes])
            if idle is not None:
                connection.executemany(_IDLE, [(*lane, min(idle, before)) for lane in lanes])
            pieces = connection.total_changes - was
            if idle is not None:
                connection.executemany(
                    "delete from lanes where node = ?1 and key = ?2 and not exists "
                    "(select 1 from pieces where node = ?1 and key = ?2)",
                    lanes,
                )
        yield Forgotten(0, 0, pieces)
        last = lanes[-1][1]


def _forget_verdicts(appender: Appender, definition: int, before: int) -> Iterator[Forgotten]:
    connection = appender.connection
    run = connection.execute
    (topic,) = run("select topic from definitions where id = ?", (definition,)).fetchone()
    blocks = blocks_before(connection, definition, before)
    for first in range(0, len(blocks), BLOCKS):
        with appender.forgetting():
            gone: list[Position] = []
            for number in blocks[first : first + BLOCKS]:
                gone += _forget_in_block(connection, topic, number, before)
            events = _forget_events(connection, topic, gone)
        if gone:
            yield Forgotten(events, len(gone), 0)
    with appender.forgetting():
        forget_runs(connection, definition)


def _forget_in_block(connection: sqlite3.Connection, topic: int, number: int, before: int) -> list[Position]:
    """Delete the verdicts of a block that lie before a time; one without a time goes by its event's
    publication. The positions of those that went.
    """
    run = connection.execute
    row = run("select partition, body from verdict_blocks where id = ?", (number,)).fetchone()
    if row is None:  # somebody else has written meanwhile
        return []
    block = unpack_block(row[1])
    at = list(zip(block.major.tolist(), block.minor.tolist(), strict=True))
    gone = block.timed & (block.time < before)
    if not block.timed.all():
        untimed = np.flatnonzero(~block.timed).tolist()
        published = published_at(connection, topic, [Position(row[0], *at[one]) for one in untimed])
        gone[untimed] = [published[Position(row[0], *at[one])] < before for one in untimed]
    if gone.any():
        keep_verdicts(connection, number, ~gone)
    return [Position(row[0], *at[one]) for one in np.flatnonzero(gone).tolist()]


def _forget_unjudged(
    appender: Appender, connection: sqlite3.Connection, topic: int, before: int
) -> Iterator[Forgotten]:
    """Events on which there is no verdict at all go by when they were published."""
    if before <= _NEVER:
        return
    for old in old_events(connection, topic, before):
        with appender.forgetting():
            gone = _forget_events(connection, topic, old)
        yield Forgotten(gone, 0, 0)


def _forget_events(connection: sqlite3.Connection, topic: int, positions: list[Position]) -> int:
    """Delete the events on which there is no verdict any more."""
    left = set(positions)
    for (definition,) in connection.execute(
        "select id from definitions where topic = ?", (topic,)
    ).fetchall():
        if left:
            left -= judged(connection, definition, list(left))
    return drop_events(connection, topic, left)
