"""``PostgresStore``: the history in a schema of a PostgreSQL database, 14 or newer.

Its driver is the extra ``history-postgres``.

Many processes of many hosts may append: they do so one after the other. Questions take a connection of a pool
and read one state.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import HistoryError, NoHistoryError, SettingsError
from timeline_workers.settings.history_settings import shown_address

from . import postgres_append, postgres_days, postgres_forget, postgres_places, postgres_read, postgres_schema
from .model import (
    Appended,
    Changes,
    Contents,
    EventCursor,
    Followed,
    Forgotten,
    Gap,
    Group,
    Judged,
    KeysActive,
    Outcome,
    Piece,
    PieceCursor,
    RawEvent,
    Reach,
    Revision,
    Scope,
    Stamp,
    Status,
    StoredEvent,
    Writer,
)
from .sqlite_store import system_clock
from .store import ACCEPTED

READERS = 4
SCHEMA = "timeline_history"
T = TypeVar("T")


class PostgresStore:
    """The history in one schema; see ``HistoryStore``. Made by ``open``."""

    def __init__(self, pool: Any, schema: str, now: Callable[[], int]) -> None:
        self._pool = pool
        self._schema = schema
        self._now = now
        self._append = asyncio.Lock()  # the others of this process need no connection to wait on

    @classmethod
    async def open(
        cls,
        address: str,
        *,
        schema: str = SCHEMA,
        create: bool = True,
        now: Callable[[], int] = system_clock,
    ) -> Self:
        """Open the store at ``address``, ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``; with ``create``
        make its tables where there are none. Raises NoHistoryError where there are none and none are made,
        HistoryError, and SettingsError where the extra is not installed.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", schema):
            raise SettingsError(f"schema {schema!r} is no name of small letters, digits and underscores")
        try:
            import asyncpg
        except ModuleNotFoundError:
            raise SettingsError(
                "a history in PostgreSQL needs asyncpg: pip install 'timeline-workers[history-postgres]'"
            ) from None
        async with _explained():
            pool = await asyncpg.create_pool(
                address,
                min_size=1,
                max_size=READERS + 1,
                server_settings={"search_path": schema, "application_name": "timeline history"},
            )
            try:
                async with pool.acquire() as connection:
                    if not create and not await postgres_schema.exists(connection, schema):
                        raise NoHistoryError(shown_address(address))
                    await postgres_schema.prepare(connection, schema)
            except BaseException:
                await pool.close()
                raise
        return cls(pool, schema, now)

    async def append_events(
        self, topic: str, events: Sequence[RawEvent], judged: Sequence[Judged] = (), gaps: Sequence[Gap] = ()
    ) -> Appended:
        """See ``HistoryStore``."""
        async with self._writing() as to:
            return await postgres_append.append_events(to, self._now, topic, events, judged, gaps)

    async def append_revisions(
        self,
        writer: Writer,
        stamp: Stamp,
        revisions: Sequence[Revision],
        *,
        watermark: int | None = None,
        gaps: Sequence[Gap] = (),
    ) -> Appended:
        """See ``HistoryStore``."""
        async with self._writing() as to:
            return await postgres_append.append_revisions(
                to, self._now, writer, stamp, revisions, watermark, gaps
            )

    async def events(
        self,
        definition: str,
        start: int,
        end: int,
        *,
        keys: Sequence[Key] | None = None,
        outcomes: frozenset[Outcome] = ACCEPTED,
        as_of: int | None = None,
        seen_after: int | None = None,
        backwards: bool = False,
        after: EventCursor | None = None,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        """See ``HistoryStore``."""
        return await self._read(
            lambda of: postgres_read.events(
                of,
                definition,
                start,
                end,
                keys=keys,
                outcomes=outcomes,
                as_of=as_of,
                seen_after=seen_after,
                backwards=backwards,
                after=after,
                limit=limit,
            )
        )

    async def pieces(
        self,
        nodes: Sequence[str],
        start: int,
        end: int,
        *,
        keys: Sequence[Group] | None = None,
        as_of: int | None = None,
        carried: bool = True,
        backwards: bool = False,
        after: PieceCursor | None = None,
        limit: int | None = None,
    ) -> list[Piece]:
        """See ``HistoryStore``."""
        return await self._read(
            lambda of: postgres_read.pieces(
                of,
                nodes,
                start,
                end,
                keys=keys,
                as_of=as_of,
                carried=carried,
                backwards=backwards,
                after=after,
                limit=limit,
            )
        )

    async def snapshot(
        self,
        nodes: Sequence[str],
        at: int,
        *,
        keys: Sequence[Group] | None = None,
        as_of: int | None = None,
        limit: int | None = None,
    ) -> list[Piece]:
        """See ``HistoryStore``."""
        return await self._read(
            lambda of: postgres_read.snapshot(of, nodes, at, keys=keys, as_of=as_of, limit=limit)
        )

    async def keys_active(
        self, definition: str, start: int, end: int, *, as_of: int | None = None, limit: int = 200
    ) -> KeysActive:
        """See ``HistoryStore``."""
        return await self._read(
            lambda of: postgres_read.keys_active(of, definition, start, end, as_of=as_of, limit=limit)
        )

    async def density(
        self,
        definition: str,
        start: int,
        end: int,
        buckets: int,
        *,
        keys: Sequence[Key] | None = None,
        as_of: int | None = None,
    ) -> Mapping[Outcome, list[int]]:
        """See ``HistoryStore``."""
        return await self._read(
            lambda of: postgres_read.density(of, definition, start, end, buckets, keys=keys, as_of=as_of)
        )

    async def origins(self, definition: str, keys: Sequence[Key] | None) -> Mapping[Key, int]:
        """See ``HistoryStore``."""
        return await self._read(lambda of: postgres_read.origins(of, definition, keys))

    async def followed(self, definition: str) -> Mapping[int, Followed]:
        """See ``HistoryStore``."""
        return await self._read(lambda of: postgres_places.followed(of, definition))

    async def unfollow(self, definitions: Sequence[str]) -> int:
        """See ``HistoryStore``."""
        async with self._writing() as to:
            return await postgres_places.unfollow(to, definitions)

    async def raw_events(
        self, topic: str, partition: int, *, after: tuple[int, int] | None = None, limit: int
    ) -> list[RawEvent]:
        """See ``HistoryStore``."""
        return await self._read(lambda of: postgres_places.raw_events(of, topic, partition, after, limit))

    async def gaps(self, of: str) -> list[Gap]:
        """See ``HistoryStore``."""
        return await self._read(lambda connection: postgres_places.gaps(connection, of))

    async def reach(self, definition: str) -> Reach | None:
        """See ``HistoryStore``."""
        return await self._read(lambda of: postgres_forget.reach(of, definition))

    async def changed_since(
        self,
        nodes: Sequence[str],
        seen: int,
        *,
        keys: Sequence[Group] | None = None,
        until: int | None = None,
        limit: int | None = None,
    ) -> Changes:
        """See ``HistoryStore``."""
        return await self._read(
            lambda of: postgres_read.changed_since(of, nodes, seen, keys=keys, until=until, limit=limit)
        )

    async def forget(self, before: int, *, idle: int | None = None, of: Scope | None = None) -> Forgotten:
        """See ``HistoryStore``."""
        gone = Forgotten(0, 0, 0)
        async with _explained(), self._pool.acquire() as to:
            async for part in postgres_forget.forget(to, before, idle, of):
                gone = Forgotten(
                    gone.events + part.events, gone.verdicts + part.verdicts, gone.pieces + part.pieces
                )
        return gone

    async def contents(self) -> Contents:
        """See ``HistoryStore``."""
        return await self._read(postgres_forget.contents)

    async def status(self) -> Status:
        """See ``HistoryStore``."""
        return await self._read(lambda of: postgres_forget.status(of, self._schema))

    async def close(self) -> None:
        """See ``HistoryStore``."""
        await self._pool.close()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Any]:
        async with self._append, _explained(), self._pool.acquire() as connection:
            yield connection

    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async with (
            _explained(),
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await postgres_days.hold(connection)
            return await work(connection)


@asynccontextmanager
async def _explained() -> AsyncIterator[None]:
    """Say as a HistoryError what PostgreSQL, or the way there, refuses."""
    from asyncpg.exceptions import InterfaceError, InternalClientError, PostgresError

    try:
        yield
    except (PostgresError, InterfaceError, InternalClientError, OSError) as error:
        # The internal one is what a rollback gets whose connection was ended in the middle of a statement.
        said = " ".join(str(error).split()) or type(error).__name__  # details are on lines of their own
        raise HistoryError(f"the history in PostgreSQL does not answer: {said}", may_pass=True) from error
