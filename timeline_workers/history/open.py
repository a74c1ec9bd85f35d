"""``open_history``: the store at an address."""

from __future__ import annotations

from pathlib import Path

from timeline_workers.errors import SettingsError
from timeline_workers.settings.history_settings import wrong_address

from .store import HistoryStore


async def open_history(address: str, *, create: bool = True) -> HistoryStore:
    """Open the store at ``address``: ``sqlite:PATH`` or ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.

    ``create``: make it where there is none, which is for who writes to it. Raises SettingsError for any
    other address, NoHistoryError where there is none and ``create`` is not set, HistoryError where it does
    not open.
    """
    if (wrong := wrong_address(address)) is not None:
        shown = "" if "@" in address else f"{address!r:.200}: "  # what has an @ may have a password
        raise SettingsError(f"history: {shown}{wrong}")
    # Imported when one is opened: a feeder without a history starts faster.
    scheme, _, rest = address.partition(":")
    if scheme == "sqlite":
        from .sqlite_store import SqliteStore

        return await SqliteStore.open(Path(rest), create=create)
    from .postgres_store import PostgresStore

    return await PostgresStore.open(address, create=create)
