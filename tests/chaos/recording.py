"""The history store of a run: a program of its own, or a file that the programs write, and what it is held
against in the end.

``Recorded`` remembers on the way what was known at a system time, and counts with triggers, in the
transaction of each append, which stamps of which writer were stored: a stamp that is stored twice would leave
no other trace.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from deploy.cluster_ports import free_ports
from deploy.cluster_postgres import USER, Postgres
from tests.chaos.programs import Program
from tests.chaos.stacks import Stack
from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history.model import Piece
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore
from timeline_workers.plan.history_workers import history_workers
from timeline_workers.plan.physical import Plan
from timeline_workers.servers.embedded.embedded_servers import HOST
from timeline_workers.settings.history_settings import HistorySettings, sqlite_address

StoreName = Literal["sqlite", "postgres"]
STORE = "store"
STORES: tuple[StoreName, ...] = ("sqlite", "postgres")

_SQLITE = """
create table if not exists chaos_stamps (name text, major integer, minor integer);
create trigger if not exists chaos_stamped after insert on writers begin
    insert into chaos_stamps values (new.name, new.stamp_major, new.stamp_minor);
end;
"""
_POSTGRES = """
create table if not exists chaos_stamps (
    number bigint generated always as identity, name text, major bigint, minor bigint
);
create or replace function chaos_stamp() returns trigger language plpgsql as $$
begin
    insert into chaos_stamps (name, major, minor) values (new.name, new.stamp_major, new.stamp_minor);
    return new;
end $$;
create or replace trigger chaos_stamped after insert or update on writers
    for each row execute function chaos_stamp();
"""
_STAMPS = "select name, major, minor from chaos_stamps"


def add_store(stack: Stack, kind: StoreName) -> str:
    """Have all programs of ``stack`` that are still to be made write to a history store; its address.

    PostgreSQL is one more program, which can be killed; a SQLite file has no process but those that write it.
    Raises ClusterUnavailableError where there is no PostgreSQL.
    """
    if kind == "sqlite":
        address = sqlite_address(stack.directory / "history.db")
    else:
        server = Postgres(stack.directory / STORE, free_ports(1)[0])
        server.prepare()
        log = stack.directory / "logs" / f"{STORE}.log"
        ready = partial(asyncio.to_thread, server.serves)
        stack.servers.insert(0, Program(STORE, server.command, log, ready=ready))
        address = f"postgresql://{USER}:{server.password}@{HOST}:{server.port}/postgres"
    name = HistorySettings.variable("history")
    stack.environment = {**stack.environment, name: address}
    return address


@dataclass
class Recorded:
    """The store at ``address``. ``then``: what was known of these nodes at system times."""

    address: str
    then: list[tuple[int, tuple[str, ...], list[Piece]]] = field(default_factory=list)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[HistoryStore]:
        """The store, open."""
        opened = await open_history(self.address)
        try:
            yield opened
        finally:
            await opened.close()

    async def count_stamps(self) -> None:
        """Write down every stamp from now on, in the transaction that stores it."""
        async with self.store():
            pass  # it is made
        scheme, _, rest = self.address.partition(":")
        if scheme == "sqlite":
            with closing(sqlite3.connect(rest, timeout=60)) as connection:
                connection.executescript(_SQLITE)
            return
        async with _connected(self.address) as postgres:
            await postgres.execute(_POSTGRES)

    async def stamps(self) -> dict[str, list[tuple[int, int]]]:
        """The stamps that were stored, by writer, in the order in which they were."""
        scheme, _, rest = self.address.partition(":")
        if scheme == "sqlite":
            with closing(sqlite3.connect(rest, timeout=60)) as connection:
                rows: Iterable[Any] = connection.execute(f"{_STAMPS} order by rowid").fetchall()
        else:
            async with _connected(self.address) as postgres:
                rows = await postgres.fetch(f"{_STAMPS} order by number")
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for name, *stamp in rows:
            found[name].append((stamp[0], stamp[1]))
        return found

    async def remember(self, plans: Sequence[Plan]) -> None:
        """Remember what is known of the results of ``plans`` by now."""
        nodes = tuple({spec.node for planned in plans for spec in history_workers(planned)[-1:]})
        async with self.store() as store:
            seen = (await store.status()).seen
            pieces = await store.pieces(nodes, EARLIEST, LATEST, as_of=seen)
        self.then.append((seen, nodes, _as_of(seen, pieces)))

    async def as_then(self) -> list[str]:
        """What is said otherwise, as of the same times, by now."""
        odd = []
        async with self.store() as store:
            for seen, nodes, before in self.then:
                now = _as_of(seen, await store.pieces(nodes, EARLIEST, LATEST, as_of=seen))
                if now != before:
                    changed = [pair for pair in zip(before, now, strict=False) if pair[0] != pair[1]]
                    odd.append(f"as of {seen}: {len(before)} pieces were {len(now)} later: {changed[:2]}")
        return odd


def _as_of(seen: int, pieces: Iterable[Piece]) -> list[Piece]:
    """``pieces`` without what is known of them only later."""
    return [
        Piece(p.node, p.key, p.start, p.until, p.value, p.slope, p.seen_from, None)
        if p.seen_until is not None and p.seen_until > seen
        else p
        for p in pieces
    ]


@asynccontextmanager
async def _connected(address: str) -> AsyncIterator[Any]:
    import asyncpg

    from timeline_workers.history.postgres_store import SCHEMA

    connection = await asyncpg.connect(address, server_settings={"search_path": SCHEMA})
    try:
        yield connection
    finally:
        await connection.close()


def twice(stamps: Mapping[str, Sequence[tuple[int, int]]]) -> list[str]:
    """Writers of which a stamp is not greater than the one stored before it."""
    odd = []
    for name, stored in stamps.items():
        again = [stamp for stamp, count in Counter(stored).items() if count > 1]
        if again or stored != sorted(stored):
            odd.append(f"{name}: of {len(stored)} stamps {len(again)} were stored twice: {again[:3]}")
    return odd


def hold_write_lock(file: Path, seconds: float) -> str:
    """A program that takes the write lock of a SQLite file and keeps it."""
    return (
        "import sqlite3, sys, time\n"
        f"connection = sqlite3.connect({str(file)!r}, isolation_level=None, timeout=60)\n"
        "connection.execute('begin immediate')\n"
        "print('held', flush=True)\n"
        f"time.sleep({seconds})\n"
    )
