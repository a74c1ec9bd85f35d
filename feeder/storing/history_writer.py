"""``HistoryWriter``: calls of the history store that are repeated until it answers, and for how long it has
not.

Whoever feeds asks ``silent`` and waits no longer then; who acknowledges asks ``given_up``: the store has not
answered for the time that is called patience.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import structlog

from feeder.delivery.retry import persist
from feeder.loop_clock import now
from feeder.positions import Offset
from timeline_workers.errors import HistoryError
from timeline_workers.history.model import Appended, Followed, Gap, Judged, RawEvent
from timeline_workers.history.store import HistoryStore

from .history_thread import Stores, Work
from .verdict_rows import Share, stored_form

log = structlog.get_logger("feeder")
T = TypeVar("T")

# A call that takes so long is not waited for by who feeds: the store may be locked, or hang.
SILENT_SECONDS = 15.0
# For so long the store may take where the feeding waits for it.
HURRY_SECONDS = 10.0


class HistoryWriter:
    """Writes what is made of ``topic``. ``patience``: in seconds."""

    def __init__(self, topic: str, stores: Stores, patience: float) -> None:
        self._topic, self._stores, self._patience = topic, stores, patience
        self._failed_since: float | None = None
        self._begun: dict[object, float] = {}

    @property
    def silent(self) -> bool:
        """Whether the store fails, or takes suspiciously long."""
        return self._failed_since is not None or self._longest > SILENT_SECONDS

    @property
    def given_up(self) -> bool:
        """Whether the store has not answered for longer than patience lasts."""
        since = 0.0 if self._failed_since is None else now() - self._failed_since
        return self.silent and max(since, self._longest) > self._patience

    @property
    def _longest(self) -> float:
        """For how long the call lasts that was begun first."""
        return now() - min(self._begun.values(), default=now())

    async def append(
        self,
        shares: Sequence[Share],
        gaps: Sequence[Gap] = (),
        judged: Iterable[Judged] = (),
        *,
        hurry: bool = False,
    ) -> None:
        """Return when all this is stored; in a ``hurry`` it is tried once. Raises HistoryError only then."""

        async def work(store: HistoryStore) -> Appended:
            events, verdicts = stored_form(shares)
            return await store.append_events(self._topic, events, [*verdicts, *judged], gaps)

        await self._call("storing the history", work, hurry)

    async def followed(self, definition: str) -> Mapping[int, Followed]:
        """How far the store is; see ``HistoryStore``."""
        return await self._call("asking the history", lambda store: store.followed(definition))

    async def stored(
        self, partition: int, after: Offset | None, limit: int, *, hurry: bool = False
    ) -> Sequence[RawEvent]:
        """See ``HistoryStore.raw_events``; ``hurry``: as in ``append``."""
        return await self._call("reading the history", self._reading(partition, after, limit), hurry)

    async def look(self, partition: int, after: Offset | None, limit: int) -> Sequence[RawEvent]:
        """The same, or HistoryError where the store does not answer soon, or has not before."""
        if self.silent:
            raise HistoryError("the history store does not answer", may_pass=True)
        return await self._once(self._reading(partition, after, limit))

    def _reading(self, partition: int, after: Offset | None, limit: int) -> Work[Sequence[RawEvent]]:
        return lambda store: store.raw_events(self._topic, partition, after=after, limit=limit)

    async def _call(self, what: str, work: Work[T], hurry: bool = False) -> T:
        if hurry:
            return await self._once(work)
        return await persist(
            what, lambda: self._attempt(work), passing=lambda error: isinstance(error, Exception)
        )

    async def _once(self, work: Work[T]) -> T:
        begun = now()
        try:
            async with asyncio.timeout(HURRY_SECONDS):
                return await self._attempt(work)
        except TimeoutError:
            self._failed_since = begun if self._failed_since is None else self._failed_since
            raise HistoryError(f"no answer for {HURRY_SECONDS:g} s", may_pass=True) from None

    async def _attempt(self, work: Work[T]) -> T:
        mine, begun = object(), now()
        self._begun[mine] = begun
        try:
            found = await self._stores.call(work)
        except Exception:
            self._failed_since = begun if self._failed_since is None else self._failed_since
            raise
        finally:
            del self._begun[mine]
        self._failed_since = None
        return found
