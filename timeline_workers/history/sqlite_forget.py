"""Forgetting in the SQLite store. Calls block, on the thread of the writing connection.

What is deleted is deleted in parts of some thousand rows, a transaction each, so that appends wait for one of
them at most. The bound that questions are held to rises first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from .model import Forgotten
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


def forget(appender: Appender, before: int, idle: int | None) -> Iterator[Forgotten]:
    """Forget, a part for each step; see ``HistoryStore``."""
    connection = appender.connection
    run = connection.execute
    with appender.forgetting():
        run("update store set kept_from = max(coalesce(kept_from, ?1), ?1)", (before,))
    for definition, topic in run("select id, topic from definitions").fetchall():
        while (gone := _forget_verdicts(appender, connection, definition, topic, before)) is not None:
            yield gone
    yield from _forget_unjudged(appender, connection, before)
    last = (-1, -1)
    while lanes := run(
        "select node, key from lanes where (node, key) > (?, ?) order by node, key limit ?", (*last, PART)
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
        last = lanes[-1]


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


def _forget_unjudged(appender: Appender, connection: sqlite3.Connection, before: int) -> Iterator[Forgotten]:
    """Events on which there is no verdict at all go by when they were published."""
    last = (-1, -(2**31), -(2**63), -(2**63))
    run = connection.execute
    while rows := run(
        "select topic, partition, major, minor, published from events "
        "where (topic, partition, major, minor) > (?, ?, ?, ?) "
        "order by topic, partition, major, minor limit ?",
        (*last, PART),
    ).fetchall():
        old = [row for row in rows if row[4] < before]
        gone = 0
        if old:
            with appender.forgetting():
                for topic in {row[0] for row in old}:
                    gone += _forget_events(connection, topic, [row[1:4] for row in old if row[0] == topic])
        yield Forgotten(gone, 0, 0)
        last = rows[-1][:4]


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
