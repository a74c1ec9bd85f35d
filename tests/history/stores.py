"""The history stores that conformance is tested on, each empty for every example."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from deploy.cluster_ports import free_ports
from deploy.cluster_postgres import USER, Postgres
from deploy.cluster_server import ClusterUnavailableError
from timeline_workers.history import (
    blocks,
    postgres_days,
    sqlite_append,
    sqlite_events,
    sqlite_key_runs,
    sqlite_verdicts,
)
from timeline_workers.history.postgres_store import PostgresStore
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.history.store import HistoryStore

Fresh = Callable[[Callable[[], int]], AbstractAsyncContextManager[HistoryStore]]


@asynccontextmanager
async def sqlite(now: Callable[[], int]) -> AsyncIterator[HistoryStore]:
    """A SQLite store in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        store = await SqliteStore.open(Path(folder) / "new" / "history.db", now=now)
        try:
            yield store
        finally:
            await store.close()


# So that scripts of a few events fill blocks, spans of time and runs of keys, and pages of these.
_TINY = {
    blocks: {"BLOCK_BYTES": 4},
    sqlite_events: {"SMALL": 2},
    sqlite_verdicts: {"ROWS": 3, "SPAN": 5, "FEW": 1, "MANY": 2, "WHOLE": 2},
    sqlite_key_runs: {"FAN": 2, "PAGE": 2, "WHOLE": 2},
    sqlite_append: {"FAN": 2, "WHOLE": 2},
}


@contextmanager
def tiny_blocks() -> Iterator[None]:
    """The SQLite store has blocks of some events meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for module, settings in _TINY.items():
            for name, value in settings.items():
                patch.setattr(module, name, value)
        yield


@asynccontextmanager
async def sqlite_in_tiny_blocks(now: Callable[[], int]) -> AsyncIterator[HistoryStore]:
    """The same in blocks of some events."""
    with tiny_blocks():
        async with sqlite(now) as store:
            yield store


def until_it_serves(server: Postgres) -> bool:
    """Wait for a server that was started; whether it has come up."""
    return Retrying(
        retry=retry_if_result(lambda serves: not serves),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(60),
        retry_error_callback=lambda _: False,
    )(server.serves)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server that serves meanwhile. Raises ClusterUnavailableError."""
    with tempfile.TemporaryDirectory(prefix="history-postgres-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL may run under another account
        server = Postgres(home / "postgres", free_ports(1)[0])
        server.prepare()
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(server.command, stdout=log, stderr=log)
        try:
            if not until_it_serves(server):
                said = (home / "log").read_text()[-300:]
                raise ClusterUnavailableError(f"PostgreSQL does not come up: {said}")
            yield f"postgresql://{USER}:{server.password}@127.0.0.1:{server.port}/postgres"
        finally:
            process.terminate()
            process.wait(60)


def postgres(address: str) -> Fresh:
    """Stores in one schema of a server, which is emptied for each; of short days, and tables for few."""

    @asynccontextmanager
    async def fresh(now: Callable[[], int]) -> AsyncIterator[HistoryStore]:
        patch = pytest.MonkeyPatch()
        for name, value in {"DAY": 7, "MOST_DAYS": 3}.items():
            patch.setattr(postgres_days, name, value)
        store = await PostgresStore.open(address, schema="conformance", now=now)
        try:
            async with store._pool.acquire() as connection:
                tables = await connection.fetch(
                    "select tablename from pg_tables where schemaname = 'conformance'"
                )
                of_days = [row[0] for row in tables if re.fullmatch(r"[a-z]+_\d+", row[0])]
                if of_days:
                    await connection.execute(f"drop table {', '.join(of_days)}")
                names = ", ".join(row[0] for row in tables if row[0] not in ("store", *of_days))
                await connection.execute(f"truncate {names} restart identity")
                await connection.execute("update store set seen = 0, kept_from = null")
            yield store
        finally:
            patch.undo()
            await store.close()

    return fresh
