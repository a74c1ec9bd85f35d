"""Moving what an earlier version of the SQLite store has, a row an event and verdict, into blocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np

from timeline_workers.columns.event_batch import Positions

from .block_columns import EventColumns
from .blocks import unpack
from .sqlite_events import add_events
from .sqlite_verdicts import ROWS, insert_block
from .verdict_block import VerdictBlock

_AT_ONCE = 16 * ROWS
_OLD = ("events", "blocks", "verdicts")


def move_to_blocks(connection: sqlite3.Connection) -> None:
    """Write all events and verdicts into blocks, and drop the tables they were in; in a transaction."""
    for topic, partition in connection.execute(
        "select distinct topic, partition from events order by 1, 2"
    ).fetchall():
        _move_events(connection, topic, partition)
    for definition, partition in connection.execute(
        "select distinct definition, partition from verdicts order by 1, 2"
    ).fetchall():
        _move_verdicts(connection, definition, partition)
    for table in _OLD:
        connection.execute(f"drop table {table}")


def _move_events(connection: sqlite3.Connection, topic: int, partition: int) -> None:
    rows = connection.execute(
        "select e.major, e.minor, e.published, e.place, e.block, b.body from events e "
        "join blocks b on b.id = e.block where e.topic = ? and e.partition = ? order by e.major, e.minor",
        (topic, partition),
    )
    known: dict[int, list[bytes]] = {}
    for some in _parts(rows):
        payloads = []
        for *_, place, block, body in some:
            if block not in known:
                if len(known) > 16:
                    known.clear()
                known[block] = unpack(body)
            payloads.append(known[block][place])
        major, minor, published = (np.array([row[at] for row in some], np.int64) for at in range(3))
        places = Positions(np.full(len(some), partition, np.int32), major, minor)
        add_events(connection, topic, EventColumns(places, payloads, published))


def _move_verdicts(connection: sqlite3.Connection, definition: int, partition: int) -> None:
    rows = connection.execute(
        "select major, minor, outcome, coalesce(key, -1), coalesce(time, 0), time is not null, seen, reason, "
        "message from verdicts where definition = ? and partition = ? order by major, minor",
        (definition, partition),
    )
    for some in _parts(rows):
        for low in range(0, len(some), ROWS):
            part = some[low : low + ROWS]
            major, minor, code, key, time, timed, seen = (
                np.array([row[at] for row in part], np.int64) for at in range(7)
            )
            said = {at: row[7:9] for at, row in enumerate(part) if row[7] or row[8]}
            block = VerdictBlock(major, minor, code, key, time, timed.astype(np.bool_), seen, said)
            insert_block(connection, definition, partition, block)


def _parts(rows: sqlite3.Cursor) -> Iterator[list[Any]]:
    while some := rows.fetchmany(_AT_ONCE):
        yield some
