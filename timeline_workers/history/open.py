"""``open_history``: the store at an address."""

from __future__ import annotations

from pathlib import Path

from timeline_workers.errors import SettingsError

from .postgres_store import PostgresStore
from .sqlite_store import SqliteStore
from .store import HistoryStore


async def open_history(address: str) -> HistoryStore:
    """Open the store at ``address``: ``sqlite:PATH``, or a path, which is a file of SQLite, or
    ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.

    Raises SettingsError for any other address, HistoryError where the store does not open.
    """
    scheme, colon, rest = address.partition(":")
    if not colon or "/" in scheme:
        return await SqliteStore.open(Path(address))
    if scheme == "sqlite" and rest:
        return await SqliteStore.open(Path(rest))
    if scheme in ("postgresql", "postgres"):
        return await PostgresStore.open(address)
    raise SettingsError(
        f"{scheme}: is no kind of a history; write sqlite:PATH or postgresql://USER:PASSWORD@HOST/DATABASE"
    )
