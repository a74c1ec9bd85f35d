"""``HistoryThread``: a history store on an event loop and a thread of its own.

Whatever a store does, packing events or writing rows for a driver, the feeder's loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from timeline_workers.errors import HistoryError
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore

T = TypeVar("T")
Work = Callable[[HistoryStore], Awaitable[T]]

CLOSE_SECONDS = 5.0


class Stores(Protocol):
    """Where work on a history store is done."""

    async def call(self, work: Work[T]) -> T:
        """Return what ``work`` returns. Raises what it raises, and HistoryError where there is no store."""


class HistoryThread:
    """The store at ``address``; it is opened when it is first needed, and again after it has failed.
    ``close`` it when nobody calls any more.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._store: HistoryStore | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="history", daemon=True)
        self._thread.start()

    async def call(self, work: Work[T]) -> T:
        """See ``Stores``. What is cancelled may be carried out all the same."""
        return await self._there(self._call(work))

    async def close(self) -> None:
        """Let go of the store, and end the thread."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._there(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _there(self, what: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(what, self._loop))

    async def _call(self, work: Work[T]) -> T:
        async with self._opening:
            if self._store is None:
                self._store = await open_history(self._address)
            store = self._store
        try:
            return await work(store)
        except HistoryError:
            # A file that was moved away, or a server that has another address now, is found by opening anew.
            if self._store is store:
                self._store = None
                closing = asyncio.create_task(store.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            raise

    async def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(HistoryError):
                await store.close()
        if self._closing:
            await asyncio.wait(self._closing)
