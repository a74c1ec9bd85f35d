"""Forgetting in the SQLite store. Calls block, on the thread of the writing connection.

What is deleted is deleted in parts of some thousand rows, a transaction each, so that appends wait for one of
them at most. The bound that questions are held to rises first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from .model import Forgotten, Scope
from .sqlite_append import Appender

PART = 2_000

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
        (topic,) = run("select topic from definitions where id = ?", (definition,)).fetchone()
        while (gone := _forget_verdicts(appender, connection, definition, topic, before)) is not None:
            yield gone
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


def _forget_verdicts(
    appender: Appender, connection: sqlite3.Connection, definition: int, topic: int, before: int
) -> Forgotten | None:
    run = connection.execute
    with appender.forgetting():
        gone = run(
            "select id, partition, major, minor from verdicts where definition = ?1 and time < ?2 limit ?3",
            (definition, before, PART),
        ).fetchall()
        if len(gone) < PART:
            gone += run(
                "select v.id, v.partition, v.major, v.minor from verdicts v join events e on e.topic = ?4 "
                "and e.partition = v.partition and e.major = v.major and e.minor = v.minor "
                "where v.definition = ?1 and v.time is null and e.published < ?2 limit ?3",
                (definition, before, PART, topic),
            ).fetchall()
        if not gone:
            return None
        connection.executemany("delete from verdicts where id = ?", [row[:1] for row in gone])
        return Forgotten(_forget_events(connection, topic, [row[1:] for row in gone]), len(gone), 0)


def _forget_unjudged(
    appender: Appender, connection: sqlite3.Connection, topic: int, before: int
) -> Iterator[Forgotten]:
    """Events on which there is no verdict at all go by when they were published."""
    last = (-(2**31), -(2**63), -(2**63))
    run = connection.execute
    while before > _NEVER and (
        rows := run(
            "select partition, major, minor, published from events where topic = ? "
            "and (partition, major, minor) > (?, ?, ?) order by partition, major, minor limit ?",
            (topic, *last, PART),
        ).fetchall()
    ):
        old = [row[:3] for row in rows if row[3] < before]
        gone = 0
        if old:
            with appender.forgetting():
                gone += _forget_events(connection, topic, old)
        yield Forgotten(gone, 0, 0)
        last = rows[-1][:3]


def _forget_events(connection: sqlite3.Connection, topic: int, positions: list[tuple[int, int, int]]) -> int:
    """Delete the events on which there is no verdict any more, and blocks of which none is left."""
    run, gone = connection.execute, 0
    definitions = [row[0] for row in run("select id from definitions where topic = ?", (topic,))]
    for position in positions:
        judged = any(
            run(
                "select 1 from verdicts where definition = ? and partition = ? and major = ? and minor = ?",
                (definition, *position),
            ).fetchone()
            for definition in definitions
        )
        if judged:
            continue
        found = run(
            "select block from events where topic = ? and partition = ? and major = ? and minor = ?",
            (topic, *position),
        ).fetchone()
        if found is None:
            continue
        run(
            "delete from events where topic = ? and partition = ? and major = ? and minor = ?",
            (topic, *position),
        )
        run("update blocks set live = live - 1 where id = ?", found)
        run("delete from blocks where id = ? and live = 0", found)
        gone += 1
    return gone
