"""``Site``: what one web server serves: a cluster, a history store, and what may be done with them.

The cluster is connected to when it is first asked for, so that a server that starts before Temporal does
serves what it can, and says of the rest what is missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Query, Request

from timeline_workers.client import TimelineClient
from timeline_workers.errors import ConnectionFailedError, HistoryError
from timeline_workers.event_tables.open_table import OpenTables
from timeline_workers.history.model import Gap
from timeline_workers.history.store import HistoryStore
from timeline_workers.metric.model import Metric, TimeUnit
from timeline_workers.playback.history_names import MetricsByName
from timeline_workers.playback.history_recording import RecordedMetric

from .access import Access
from .failures import WebCode, WebError

_GAPS_SECONDS: Final = 10.0
_FRESH_SECONDS: Final = 2.0  # for which the applied metrics are remembered for the player

Connect = Callable[[], Awaitable[TimelineClient]]


@dataclass
class Site:
    """See the module. ``connect``: to the cluster; ``store``: None: there is no history; ``why_no_history``:
    what to do about that; ``tables``: event tables of others, which the player plays, too; ``temporal_ui``:
    where Temporal's UI is; ``encrypted``: keys of payloads are here.
    """

    connect: Connect
    access: Access
    store: HistoryStore | None = None
    tables: OpenTables | None = None
    store_down: str | None = None  # why a store that there is has not been opened yet
    why_no_history: str = "set TIMELINE_HISTORY to the address of one, and start the feeder with it, too"
    version: str = ""
    read_only: bool = False
    temporal_ui: str | None = None
    encrypted: bool = False
    _client: TimelineClient | None = None
    _gaps: list[Gap] | None = None
    _gaps_read: float = 0.0
    _reading: asyncio.Task[None] | None = None
    _connecting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def client(self) -> TimelineClient:
        """The client of the cluster, connected. Raises ConnectionFailedError, SettingsError."""
        async with self._connecting:
            if self._client is None:
                self._client = await self.connect()
            return self._client

    @property
    def has_history(self) -> bool:
        """Whether there is a history store, open or not."""
        return self.store is not None or self.store_down is not None

    def history(self) -> HistoryStore:
        """The history store. Raises WebError where there is none, HistoryError while it cannot be opened."""
        if self.store is None and self.store_down is not None:
            raise HistoryError(self.store_down, may_pass=True)
        if self.store is None:
            raise WebError(WebCode.NO_HISTORY, f"there is no history store here; {self.why_no_history}")
        return self.store

    async def gaps(self) -> list[Gap]:
        """What is known to be missing from the history, as it was some seconds ago: a large store takes a
        while to say. Raises as ``history``.
        """
        store = self.history()
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            reading.result()  # a fault of the last reading: nobody else awaits it
        if self._gaps is None:
            await self._read_gaps(store)
        elif time.monotonic() - self._gaps_read > _GAPS_SECONDS and self._reading is None:
            self._reading = asyncio.create_task(self._read_gaps(store))
        return self._gaps or []

    async def _read_gaps(self, store: HistoryStore) -> None:
        try:
            self._gaps = (await store.contents()).gaps
            self._gaps_read = time.monotonic()
        except HistoryError:
            if self._gaps is None:  # else it is tried again with the next question
                raise

    def may_write(self) -> None:
        """Raises WebError where nothing may be changed."""
        if self.read_only:
            raise WebError(
                WebCode.READ_ONLY,
                "this server is read-only: nothing can be applied, deleted, replayed or imported here; use "
                "the `timeline` command, or a server without --read-only",
            )


class AppliedNames:
    """The names of ``HistoryRecording``: those of the metrics that are applied, as the catalog has them."""

    def __init__(self, metrics: Callable[[], Awaitable[list[Metric]]]) -> None:
        self._metrics = metrics
        self._read = -_FRESH_SECONDS
        self._names: MetricsByName | None = None

    async def now(self) -> MetricsByName:
        """The names by now; while the catalog does not answer, those that it said last. Raises
        ConnectionFailedError where it has said none.
        """
        if self._names is None or time.monotonic() - self._read >= _FRESH_SECONDS:
            try:
                self._names = MetricsByName(await self._metrics())
            except ConnectionFailedError:
                if self._names is None:
                    raise
            self._read = time.monotonic()
        return self._names

    async def definition(self, name: str) -> str:
        """See ``MetricNames``."""
        return await (await self.now()).definition(name)

    async def metric(self, name: str) -> RecordedMetric:
        """See ``MetricNames``."""
        return await (await self.now()).metric(name)


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


OfSite = Annotated[Site, Depends(_site)]
Unit = Annotated[TimeUnit | None, Query(description="Of times in and out; by default the source's.")]
AsCsv = Annotated[bool, Query(description="Answer with the table as CSV.")]
