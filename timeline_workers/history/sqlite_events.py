"""Raw events in the SQLite store: blocks of successive events of a partition. Calls block.

Blocks of a partition do not overlap: what comes in between is merged into those that are there, and a small
block into what follows it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any

import numpy as np

from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import QuestionError

from .block_columns import EventColumns, by_partition, first_of_each
from .blocks import BLOCK_BYTES, cut, pack, pack_places, unpack, unpack_places
from .model import Position, RawEvent

SMALL = BLOCK_BYTES // 4
Place = tuple[int, int]

# The index has the last place of each block: the first of those that end at a place or later has it.
_FROM = """
select id, first_major, first_minor, last_major, last_minor, bytes, places, body from event_blocks
where topic = ? and partition = ? and (last_major, last_minor) >= (?, ?) order by last_major, last_minor
"""
_BEFORE = """
select id, first_major, first_minor, last_major, last_minor, bytes, places, body from event_blocks
where topic = ? and partition = ? and (last_major, last_minor) < (?, ?)
order by last_major desc, last_minor desc limit 1
"""


def add_events(connection: sqlite3.Connection, topic: int, events: EventColumns) -> None:
    """Store those of ``events`` that are not there."""
    rows = first_of_each(events.position)
    once = events if rows is None else events.take(rows)
    for partition, of_partition in by_partition(once.position):
        _add(connection, topic, partition, once[of_partition])


def _add(connection: sqlite3.Connection, topic: int, partition: int, events: EventColumns) -> None:
    low, high = _ends(events)
    held = list(_overlapping(connection, topic, partition, low, high))
    there = [_events(partition, places, body) for *_, places, body in held]
    if there:
        known = sum(map(len, there))
        joined = EventColumns.joined([*there, events])
        rows = first_of_each(joined.position)
        events = joined if rows is None else joined.take(rows)
        if len(events) == known:
            return
    before = connection.execute(_BEFORE, (topic, partition, *low)).fetchone()
    if before is not None and before[5] < SMALL:
        held.append(before)
        events = EventColumns.joined([_events(partition, *before[-2:]), events])
    connection.executemany("delete from event_blocks where id = ?", [row[:1] for row in held])
    _insert(connection, topic, partition, events)


def _insert(connection: sqlite3.Connection, topic: int, partition: int, events: EventColumns) -> None:
    for first, last in cut(events.payloads):
        part = events[first:last] if last - first < len(events) else events
        major, minor, published = part.position.major, part.position.minor, part.published
        connection.execute(
            "insert into event_blocks (topic, partition, first_major, first_minor, last_major, last_minor, "
            "many, bytes, oldest, places, body) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(topic, partition, *_ends(part)[0], *_ends(part)[1], len(part)),
                *(sum(map(len, part.payloads)), int(published.min())),
                *(pack_places(major, minor, published), pack(part.payloads)),
            ),
        )


def _ends(events: EventColumns) -> tuple[Place, Place]:
    major, minor = events.position.major, events.position.minor
    return (int(major[0]), int(minor[0])), (int(major[-1]), int(minor[-1]))


def _overlapping(
    connection: sqlite3.Connection, topic: int, partition: int, low: Place, high: Place
) -> Iterator[tuple[Any, ...]]:
    for row in connection.execute(_FROM, (topic, partition, *low)):
        if row[1:3] > high:
            return
        yield row


def _events(partition: int, places: bytes, body: bytes) -> EventColumns:
    major, minor, published = unpack_places(places)
    of = np.full(len(major), partition, np.int32)
    return EventColumns(Positions(of, major, minor), unpack(body), published)


def check_there(
    connection: sqlite3.Connection, topic: int, topic_name: str, positions: Set[Position]
) -> None:
    """Raise QuestionError unless there is an event at each of ``positions``."""
    missing = set(positions)
    for partition in {position.partition for position in positions}:
        mine = [position[1:] for position in positions if position.partition == partition]
        for *_, places, _ in _overlapping(connection, topic, partition, min(mine), max(mine)):
            major, minor, _ = unpack_places(places)
            missing.difference_update(
                Position(partition, *at) for at in zip(major.tolist(), minor.tolist(), strict=True)
            )
    if missing:
        raise QuestionError(
            f"there is no event of {topic_name!r} at {min(missing)}; append it with its verdict"
        )


def events_at(
    connection: sqlite3.Connection, topic: int, positions: Iterable[Position]
) -> dict[Position, tuple[bytes, int]]:
    """The payload of each of these events, and when it was published."""
    found: dict[Position, tuple[bytes, int]] = {}
    wanted = sorted(positions)
    at = 0
    while at < len(wanted):
        partition, *place = wanted[at]
        row = connection.execute(f"{_FROM} limit 1", (topic, partition, *place)).fetchone()
        last = (partition, *row[3:5])
        major, minor, published = unpack_places(row[-2])
        rows = {one: number for number, one in enumerate(zip(major.tolist(), minor.tolist(), strict=True))}
        payloads = unpack(row[-1])
        while at < len(wanted) and wanted[at] <= last:
            number = rows[wanted[at][1:]]
            found[wanted[at]] = payloads[number], int(published[number])
            at += 1
    return found


def next_events(
    connection: sqlite3.Connection, topic: int, partition: int, after: Place | None, limit: int
) -> list[RawEvent]:
    """The events of a partition after a place, in order."""
    found: list[RawEvent] = []
    start = after or (-(2**63), -(2**63))
    for *_, places, body in connection.execute(_FROM, (topic, partition, *start)):
        for event in _events(partition, places, body):
            if after is None or event.position[1:] > after:
                found.append(event)
                if len(found) == limit:
                    return found
    return found


def published_at(
    connection: sqlite3.Connection, topic: int, positions: Sequence[Position]
) -> dict[Position, int]:
    """When each of these events was published."""
    return {at: published for at, (_, published) in events_at(connection, topic, positions).items()}


def old_events(connection: sqlite3.Connection, topic: int, before: int) -> Iterator[list[Position]]:
    """The events that were published before a time, some at once."""
    rows = connection.execute(
        "select partition, places from event_blocks where topic = ? and oldest < ?", (topic, before)
    ).fetchall()
    for partition, places in rows:
        major, minor, published = unpack_places(places)
        old = published < before
        yield [Position(partition, *at) for at in zip(major[old].tolist(), minor[old].tolist(), strict=True)]


def drop_events(connection: sqlite3.Connection, topic: int, positions: Set[Position]) -> int:
    """Delete these events; returns how many there were."""
    gone = 0
    for partition in {position.partition for position in positions}:
        mine = [position[1:] for position in positions if position.partition == partition]
        for number, *_, places, body in list(
            _overlapping(connection, topic, partition, min(mine), max(mine))
        ):
            events = _events(partition, places, body)
            there = zip(events.position.major.tolist(), events.position.minor.tolist(), strict=True)
            keep = np.array([Position(partition, *at) not in positions for at in there], np.bool_)
            if keep.all():
                continue
            gone += int((~keep).sum())
            connection.execute("delete from event_blocks where id = ?", (number,))
            if keep.any():
                _insert(connection, topic, partition, events.take(np.flatnonzero(keep)))
    return gone
