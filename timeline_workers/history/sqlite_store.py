"""``SqliteStore``: the history in one SQLite file, for one host.

Several processes may open one file. Each has one thread that writes and ``READERS`` that read: Python's own
module lets go of the interpreter while SQLite works, and a whole transaction is one hop to a thread and back,
where a wrapper that awaits statement by statement makes one for each.

A call that is cancelled is carried out all the same; what it appends is stored once, if it is said again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import HistoryError, NoHistoryError

from . import sqlite_event_read, sqlite_forget, sqlite_places, sqlite_read, sqlite_status
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
from .sqlite_append import Appender
from .sqlite_schema import connect
from .store import ACCEPTED

READERS = 2
T = TypeVar("T")


def system_clock() -> int:
    """The time of this host, in microseconds."""
    return time.time_ns() // 1000


class SqliteStore:
    """The history in the file ``path``; see ``HistoryStore``. Made by ``open``."""

    def __init__(self, path: Path, now: Callable[[], int], *, create: bool = True) -> None:
        self.path = path
        self._now = now
        self._create = create
        self._writing = ThreadPoolExecutor(1, "history-writer")
        self._reading = ThreadPoolExecutor(READERS, "history-reader")
        self._of_thread = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._appender: Appender | None = None

    @classmethod
    async def open(cls, path: Path, *, create: bool = True, now: Callable[[], int] = system_clock) -> Self:
        """Open the store at ``path``; with ``create`` make it and its folder where there is none.

        ``now``: what system time follows, in microseconds. Raises NoHistoryError where there is none and none
        is made, HistoryError for a file that is no store of ours.
        """
        if not create and not await asyncio.to_thread(path.exists):
            raise NoHistoryError(str(path))
        store = cls(path, now, create=create)
        try:
            await store._write(lambda _: None)
        except BaseException:
            await store.close()
            raise
        return store

    async def append_events(
        self, topic: str, events: Sequence[RawEvent], judged: Sequence[Judged] = (), gaps: Sequence[Gap] = ()
    ) -> Appended:
        """See ``HistoryStore``."""
        return await self._write(lambda to: to.append_events(topic, events, judged, gaps))

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
        return await self._write(lambda to: to.append_revisions(writer, stamp, revisions, watermark, gaps))

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
            lambda of: sqlite_event_read.events(
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
            lambda of: sqlite_read.pieces(
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
            lambda of: sqlite_read.snapshot(of, nodes, at, keys=keys, as_of=as_of, limit=limit)
        )

    async def keys_active(
        self, definition: str, start: int, end: int, *, as_of: int | None = None, limit: int = 200
    ) -> KeysActive:
        """See ``HistoryStore``."""
        return await self._read(
            lambda of: sqlite_event_read.keys_active(of, definition, start, end, as_of=as_of, limit=limit)
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
            lambda of: sqlite_event_read.density(of, definition, start, end, buckets, keys=keys, as_of=as_of)
        )

    async def origins(self, definition: str, keys: Sequence[Key] | None) -> Mapping[Key, int]:
        """See ``HistoryStore``."""
        return await self._read(lambda of: sqlite_event_read.origins(of, definition, keys))

    async def followed(self, definition: str) -> Mapping[int, Followed]:
        """See ``HistoryStore``."""
        return await self._read(lambda of: sqlite_places.followed(of, definition))

    async def unfollow(self, definitions: Sequence[str]) -> int:
        """See ``HistoryStore``."""
        return await self._write(lambda to: sqlite_places.unfollow(to, definitions))

    async def raw_events(
        self, topic: str, partition: int, *, after: tuple[int, int] | None = None, limit: int
    ) -> list[RawEvent]:
        """See ``HistoryStore``."""
        return await self._read(lambda of: sqlite_places.raw_events(of, topic, partition, after, limit))

    async def gaps(self, of: str) -> list[Gap]:
        """See ``HistoryStore``."""
        return await self._read(lambda connection: sqlite_places.gaps(connection, of))

    async def reach(self, definition: str) -> Reach | None:
        """See ``HistoryStore``."""
        return await self._read(lambda of: sqlite_status.reach(of, definition))

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
            lambda of: sqlite_read.changed_since(of, nodes, seen, keys=keys, until=until, limit=limit)
        )

    async def forget(self, before: int, *, idle: int | None = None, of: Scope | None = None) -> Forgotten:
        """See ``HistoryStore``."""
        parts = await self._write(lambda to: sqlite_forget.forget(to, before, idle, of))
        gone = Forgotten(0, 0, 0)
        # A part a call: appends have their turn between them.
        while (part := await self._write(lambda _: next(parts, None))) is not None:
            gone = Forgotten(
                gone.events + part.events, gone.verdicts + part.verdicts, gone.pieces + part.pieces
            )
        return gone

    async def contents(self) -> Contents:
        """See ``HistoryStore``."""
        return await self._read(sqlite_status.contents)

    async def status(self) -> Status:
        """See ``HistoryStore``."""
        return await self._read(lambda of: sqlite_status.status(of, self.path))

    async def close(self) -> None:
        """See ``HistoryStore``."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writing.shutdown()
        self._reading.shutdown()
        while self._connections:
            self._connections.pop().close()

    async def _write(self, work: Callable[[Appender], T]) -> T:
        def on_thread() -> T:
            if self._appender is None:
                if self._create:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                self._appender = Appender(self._connect(), self._now)
            return work(self._appender)

        return await self._on(self._writing, on_thread)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def on_thread() -> T:
            connection = getattr(self._of_thread, "connection", None)
            if connection is None:
                connection = self._of_thread.connection = self._connect(read_only=True)
            with sqlite_read.reading(connection):
                return work(connection)

        return await self._on(self._reading, on_thread)

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        connection = connect(self.path, read_only=read_only, create=self._create)
        self._connections.append(connection)
        return connection

    async def _on(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except sqlite3.Error as error:
            passing = isinstance(error, sqlite3.OperationalError)
            raise HistoryError(
                f"the history {self.path} does not answer: {error}", may_pass=passing
            ) from error
        except OSError as error:
            raise HistoryError(f"the history {self.path} cannot be made: {error}") from error
