"""Channels of event tables of others: readers of their rows, and of an expression computed from them.

A table has no order in which its rows were stored. So a reader remembers which of the newest rows it has
given: a row that lies at most ``settle`` behind the newest, and that was not there before, is news. Of rows
that appear further behind nothing is known until they are read again. One reader serves one session.
See ``recording.ChannelReader``.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

from timeline_workers.columns.key_table import Key
from timeline_workers.event_tables.event_table import EventRow, EventTable, Extent, text_of

from .items import ChannelLevels, OpenedChannel, Record, View
from .pages import PAGE, Page
from .recording import ChannelWindow

MOST_NEWS = 10_000  # rows of a table's end that are looked at again


class SharedTable:
    """A table that all sessions share, and how far it reaches: asked for every ``look`` seconds at most.

    ``settle``: microseconds. ``clock``: seconds, as ``time.monotonic`` has them.
    """

    def __init__(
        self, table: EventTable, settle: int, look: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.table, self.settle, self._look, self._clock = table, settle, look, clock
        self._known: dict[tuple[Key, ...] | None, tuple[float, Extent | None]] = {}
        self._asking = asyncio.Lock()

    async def reach(self, keys: Sequence[Key] | None) -> Extent | None:
        """How far the table reaches; one that can be asked by keys only, of these keys."""
        of = tuple(keys) if keys is not None and self.table.needs_keys else None
        async with self._asking:
            now = self._clock()
            known = self._known.get(of)
            if known is None or now - known[0] >= self._look:
                known = now, await self.table.extent(keys=of)
                self._known = {one: old for one, old in self._known.items() if now - old[0] < 10 * self._look}
                self._known[of] = known
            return known[1]


class TableEnd:
    """The newest rows of a table, and which of them were given."""

    def __init__(self, table: EventTable, keys: Sequence[Key] | None, settle: int) -> None:
        self._table, self._keys, self._settle = table, keys, settle
        self._from: int | None = None  # where the end began when it was looked at last
        self._given: Counter[tuple[int, str]] = Counter()
        self._news: list[EventRow] = []

    def give(self, rows: Sequence[EventRow], end: int) -> None:
        """Rows that were read, all of their instants, up to ``end``; what is among the news is none."""
        if self._from is None or end <= self._from:
            return
        mine = Counter((row.time, text_of(row)) for row in rows if row.time >= self._from)
        self._given |= mine
        self._news = [row for row in self._news if (row.time, text_of(row)) not in mine]

    async def look(self, last: int, upto: int | None = None) -> None:
        """Look at the rows up to ``settle`` behind the newest time. ``upto``: nothing after it was read, so
        that there is nothing to look at when the end begins later.
        """
        if upto is not None and self._from is not None and upto < self._from:
            return
        settle = self._settle
        while True:
            start = max(last - settle, self._from or last - settle)
            end, rows = await self._table.rows(start, last + 1, keys=self._keys, limit=MOST_NEWS)
            if end > last or settle == 0:
                break
            settle //= 2  # more than can be looked at again and again
        found = Counter((row.time, text_of(row)) for row in rows)
        if self._from is not None:  # what the first look finds was there before
            new = found - self._given
            for row in rows:
                name = row.time, text_of(row)
                if new[name]:
                    new[name] -= 1
                    self._news.append(row)
        kept = max(last - settle, start)
        self._given = Counter({name: many for name, many in (self._given | found).items() if name[0] >= kept})
        self._from = kept

    @property
    def has_news(self) -> bool:
        """Whether anything is."""
        return bool(self._news)

    def news(self) -> list[EventRow]:
        """What is new since the last time that this was asked."""
        found, self._news = self._news, []
        return found


class TableEventsReader:
    """The rows of a table, of some keys or all; made by ``open``."""

    def __init__(self, shared: SharedTable, keys: Sequence[Key] | None, info: OpenedChannel) -> None:
        self.shared, self.keys, self.info = shared, keys, info
        self._table = shared.table
        self.end = TableEnd(shared.table, keys, shared.settle)
        self._page: Page[EventRow] | None = None
        self._next = 0  # where the window after the last one begins

    async def open(self) -> TableEventsReader:
        """Look at the end of the table for the first time."""
        await self.look(None)
        return self

    async def window(self, view: View, after: int, to: int, limit: int) -> ChannelWindow:
        """See ``ChannelReader``. A window that follows the last one may be of the page that was read then."""
        start, page = after + 1, self._page
        if page is None or start != self._next or not page.fills(start, to, limit):
            end, rows = await self._table.rows(start, to + 1, keys=self.keys, limit=max(limit, PAGE))
            self.end.give(rows, end)
            page = Page(start, end, [row.time for row in rows], rows)
        upto, found = page.part(start, to, limit)
        self._page, self._next = page, upto + 1
        return ChannelWindow(upto, records(found))

    async def count(self, view: View, after: int, to: int) -> int:
        """See ``ChannelReader``."""
        return sum(await self._table.counts([after + 1, to + 1], keys=self.keys)) if after < to else 0

    async def neighbour(self, view: View, at: int, back: bool) -> int | None:
        """See ``ChannelReader``."""
        return await self._table.neighbour(at, back=back, keys=self.keys)

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        """See ``ChannelReader``: records have none."""
        return ChannelLevels(0, ())

    async def look(self, upto: int | None) -> Extent | None:
        """How far the table reaches; its end is looked at."""
        reach = await self.shared.reach(self.keys)
        if reach is not None:
            await self.end.look(reach.last, upto)
            if self.end.has_news:
                self._page = None
        return reach

    def news(self, upto: int) -> list[EventRow]:
        """Rows up to ``upto`` that are new since this was asked last."""
        return [row for row in self.end.news() if row.time <= upto]


def records(rows: Sequence[EventRow], seq: int = 0) -> tuple[Record, ...]:
    """Rows as records; a position without one of its own is the place among those of its instant."""
    found: list[Record] = []
    instant, place = None, 0
    for row in rows:
        place = place + 1 if row.time == instant else 0
        instant = row.time
        position = place if row.position is None else row.position
        found.append(Record(row.time, row.time, row.key, row.payload, position, seq))
    return tuple(found)
