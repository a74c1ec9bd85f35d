"""``OpenStores``: the history store of this process, opened by the first activity that needs it.

One for each event loop: a store's connections belong to the loop that made them. ``close_stores`` lets go of
that of the running loop.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from timeline_workers.errors import SettingsError
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore
from timeline_workers.servers.embedded.history_address import history_address
from timeline_workers.settings.history_settings import HistorySettings


class OpenStores:
    """The stores that are open, by address."""

    def __init__(self) -> None:
        self._stores: dict[str, HistoryStore] = {}
        self._lock = asyncio.Lock()

    async def store(self) -> HistoryStore:
        """The store that the settings name. Raises SettingsError for none, HistoryError where it does not
        open.
        """
        address = await asyncio.to_thread(history_address)
        if address is None:
            name = HistorySettings.variable("history")
            raise SettingsError(f"no history store is known to this process; set {name} to its address")
        async with self._lock:
            if address not in self._stores:
                self._stores[address] = await open_history(address)
            return self._stores[address]

    async def close(self) -> None:
        """Close all of them."""
        async with self._lock:
            while self._stores:
                await self._stores.popitem()[1].close()


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, OpenStores] = WeakKeyDictionary()


async def history_store() -> HistoryStore:
    """The history store of this process. Raises what ``OpenStores.store`` raises."""
    return await _of_loop.setdefault(asyncio.get_running_loop(), OpenStores()).store()


async def close_stores() -> None:
    """Close what ``history_store`` has opened in this loop."""
    found = _of_loop.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()
