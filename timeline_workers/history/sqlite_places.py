"""Places of events in the SQLite store: how far topics were followed, and events by place. Calls block; see
``sqlite_read``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from .model import Followed, Gap, RawEvent
from .sqlite_append import Appender
from .sqlite_events import next_events


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
    return next_events(connection, number[0], partition, after, limit)


def gaps(connection: sqlite3.Connection, of: str) -> list[Gap]:
    """See ``HistoryStore``."""
    rows = connection.execute("select of, since, until, why, seen from gaps where of = ? order by id", (of,))
    return [Gap(*row) for row in rows]
