"""Places of events in the PostgreSQL store: how far topics were followed, and events by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .model import Followed, Gap, Position, RawEvent
from .postgres_read import unpacked


async def followed(connection: Any, definition: str) -> Mapping[int, Followed]:
    """See ``HistoryStore``."""
    rows = await connection.fetch(
        "select f.partition, f.major, f.minor, f.watermark from followed f "
        "join definitions d on d.id = f.definition where d.name = $1 order by f.partition",
        definition,
    )
    return {row[0]: Followed(*row[1:]) for row in rows}


async def unfollow(connection: Any, definitions: Sequence[str]) -> int:
    """See ``HistoryStore``."""
    said: str = await connection.execute(
        "delete from followed where definition in (select id from definitions where name = any($1::text[]))",
        list(definitions),
    )
    return int(said.rpartition(" ")[2])


async def raw_events(
    connection: Any, topic: str, partition: int, after: tuple[int, int] | None, limit: int
) -> list[RawEvent]:
    """See ``HistoryStore``."""
    rows = await connection.fetch(
        "select major, minor, published, block, place, day from events e join topics t on t.id = e.topic "
        "where t.name = $1 and partition = $2 and (major, minor) > ($3, $4) order by major, minor limit $5",
        topic,
        partition,
        *(after or (-(2**63), -(2**63))),
        limit,
    )
    blocks = await unpacked(connection, {row[5] for row in rows}, {row[3] for row in rows})
    return [RawEvent(Position(partition, row[0], row[1]), blocks[row[3]][row[4]], row[2]) for row in rows]


async def gaps(connection: Any, of: str) -> list[Gap]:
    """See ``HistoryStore``."""
    rows = await connection.fetch(
        "select of, since, until, why, seen from gaps where of = $1 order by id", of
    )
    return [Gap(*row) for row in rows]
