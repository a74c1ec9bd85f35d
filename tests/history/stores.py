"""The history stores that conformance is tested on, each with an empty store for every example."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

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


STORES: dict[str, Fresh] = {"sqlite": sqlite}
