"""A table of PostgreSQL with a row for each episode, as the last message has it.

``episode`` is the primary key: rule, key and the start that was told first. A row is replaced by a message of
a greater number only, so that one which comes late, or twice, changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from timeline_workers.alerts.episodes import key_text
from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, Send, later
from timeline_workers.targets.target import PostgresTarget

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = {
    "episode": "text primary key",
    "seq": "bigint not null",
    "rule": "text not null",
    "key": "text not null",
    "kind": "text not null",
    "firing": "boolean not null",
    "begins": "timestamptz not null",
    "ends": "timestamptz",
    "as_of": "timestamptz not null",
    "page": "boolean not null",
    "into_episode": "text",
    "title": "text not null",
    "body": "text not null",
}
_REFUSED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


@asynccontextmanager
async def opened(target: PostgresTarget, sink: str, secrets: Secrets) -> AsyncIterator[Send]:
    """See ``sending.Send``."""
    table = ".".join(f'"{part}"' for part in target.table.split("."))
    connection = await asyncpg.connect(secrets.address(target.url), timeout=10, command_timeout=30)
    try:
        if await connection.fetchval("select to_regclass($1)", table) is None:
            columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
            await connection.execute(f"create table if not exists {table} ({columns})")

        async def send(parcels: Sequence[Parcel]) -> list[Answer]:
            return [await _upsert(connection, table, parcel) for parcel in parcels]

        yield send
    finally:
        await connection.close(timeout=5)


async def _upsert(connection: Any, table: str, parcel: Parcel) -> Answer:
    names = list(_COLUMNS)
    places = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    statement = (
        f"insert into {table} as known ({', '.join(names)}) values ({places}) "
        f"on conflict (episode) do update set {changes} where known.seq < excluded.seq"
    )
    try:
        done = await connection.execute(statement, *_row(parcel))
    except _REFUSED as error:
        return Answer(verdict="never", why=f"{type(error).__name__}: {error}")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        return later(error)
    return Answer(verdict="taken", why=done)


def _row(parcel: Parcel) -> list[Any]:
    told, message = parcel.told, parcel.told.message
    return [
        message.episode,
        message.seq,
        message.rule,
        key_text(message.key),
        message.kind,
        message.is_firing,
        _time(message.start),
        None if message.end is None else _time(message.end),
        _time(message.as_of),
        message.page,
        message.into,
        told.title,
        told.text,
    ]


def _time(instant: int) -> datetime:
    return _EPOCH + timedelta(microseconds=instant)
