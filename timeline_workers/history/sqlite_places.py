"""Places of events in the SQLite store: how far topics were followed, and events by place. Calls block; see
``sqlite_read``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from .model import Followed, Gap, Position, RawEvent
from .sqlite_append import Appender
from .sqlite_read import unpacked


def followed(connection: sqlite3.Connection, definition: str) -> Mapping[int, Followed]:
    """See ``HistoryStore``."""
    rows = connection.execute(
        "select f.partition, f.major, f.minor, f.watermark from followed f "
        "join definitions d on d.id = f.definition where d.name = ? order by f.partition",
        (definition,),
    )
    return {row[0]: Followed(*row[1:]) for row in rows}


def unfollow(appender: Appender, definitions: Sequence[str]) -> int:
    """See ``HistoryStore``. On the thread of the writing connection."""
    gone = "delete from followed where definition in (select id from definitions where name = ?)"
    with appender.forgetting():
        return sum(appender.connection.execute(gone, (name,)).rowcount for name in definitions)


def raw_events(
    connection: sqlite3.Connection, topic: str, partition: int, after: tuple[int, int] | None, limit: int
) -> list[RawEvent]:
    """See ``HistoryStore``."""
    run = connection.execute
    number = run("select id from topics where name = ?", (topic,)).fetchone()
    if number is None:
        return []
    rows = run(
        "select major, minor, published, block, place from events where topic = ? and partition = ? "
        "and (major, minor) > (?, ?) order by major, minor limit ?",
        (*number, partition, *(after or (-(2**63), -(2**63))), limit),
    ).fetchall()
    blocks = unpacked(connection, {row[3] for row in rows})
    return [
        RawEvent(Position(partition, major, minor), blocks[block][place], published)
        for major, minor, published, block, place in rows
    ]


def gaps(connection: sqlite3.Connection, of: str) -> list[Gap]:
    """See ``HistoryStore``."""
    rows = connection.execute("select of, since, until, why, seen from gaps where of = ? order by id", (of,))
    return [Gap(*row) for row in rows]
