"""HealthRecording: the channel ``health`` beside what else is recorded: how metrics were, since it was asked.

While somebody has the channel open, the metrics are looked at every few seconds, as `timeline get` does; each
whose state is another than before, or that is no longer there, gives a record, with the cause at that moment.
Its time is that of this host's clock. While nobody has the channel open, nothing is looked at, and nothing is
known of that time; the records of before are kept, as many as ``MOST``.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final
from weakref import WeakSet

from timeline_workers.errors import TimelineError
from timeline_workers.playback.items import ChannelLevels, OpenedChannel, Record, View
from timeline_workers.playback.pages import Page
from timeline_workers.playback.reads import LookAnswer
from timeline_workers.playback.recording import ChannelReader, ChannelWindow, Recording
from timeline_workers.playback.requests import Channel, HealthChannel

EVERY: Final = 5.0  # seconds between two looks
MOST: Final = 10_000  # records
GONE: Final = "gone"

States = Callable[[], Awaitable[list[tuple[str, str, str | None]]]]
"""How metrics are: (name, state, cause). Raises TimelineError where nobody says."""


class HealthWatch:
    """Looks at the metrics while it is read, and keeps what it has found."""

    def __init__(
        self, states: States, *, every: float = EVERY, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._states, self._every, self._clock = states, every, clock
        self._last: dict[str, str] = {}  # states
        self._readers: WeakSet[HealthReader] = WeakSet()
        self._task: asyncio.Task[None] | None = None
        self.records: list[Record] = []
        self.looked: int | None = None

    def reader(self, channel: HealthChannel) -> HealthReader:
        """A reader of the channel; while there is one, the metrics are looked at."""
        found = HealthReader(self, OpenedChannel(channel.channel, "health"))
        self._readers.add(found)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_on())
        return found

    async def _look_on(self) -> None:
        while len(self._readers):
            await self.look()
            await asyncio.sleep(self._every)  # between two looks

    def still_looks(self) -> None:
        """Raise what has ended the looking on: a fault of ours, which nobody else awaits."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def look(self) -> None:
        """Look once."""
        try:
            found: dict[str, tuple[str, str | None]] = {
                name: (state, cause) for name, state, cause in await self._states()
            }
        except TimelineError as error:
            found = dict.fromkeys(self._last, ("unreachable", str(error)))
        now = max(self._clock() // 1_000, (self.looked or 0) + 1)  # later than any look before
        told = [(name, said) for name, said in sorted(found.items()) if self._last.get(name) != said[0]]
        told += [(name, (GONE, None)) for name in sorted(self._last.keys() - found.keys())]
        for place, (name, (state, cause)) in enumerate(told):
            payload = {"metric": name, "state": state, "cause": cause}
            self.records.append(Record(now, now, name, payload, (now, place), now))
        del self.records[:-MOST]
        self._last, self.looked = {name: state for name, (state, _) in found.items()}, now


class HealthReader:
    """The channel, open."""

    def __init__(self, watch: HealthWatch, info: OpenedChannel) -> None:
        self._watch, self.info = watch, info

    async def window(self, view: View, after: int, to: int, limit: int) -> ChannelWindow:
        """See ``ChannelReader``."""
        found = self._between(after, to)
        page = Page(after + 1, to + 1, [record.due for record in found], found)
        return ChannelWindow(*page.part(after + 1, to, limit))

    async def count(self, view: View, after: int, to: int) -> int:
        """See ``ChannelReader``."""
        return len(self._between(after, to))

    async def neighbour(self, view: View, at: int, back: bool) -> int | None:
        """See ``ChannelReader``."""
        dues = [record.due for record in self._watch.records]
        place = bisect_left(dues, at) - 1 if back else bisect_right(dues, at)
        return dues[place] if 0 <= place < len(dues) else None

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        """See ``ChannelReader``: it has none."""
        return ChannelLevels(0, ())

    def _between(self, after: int, to: int) -> list[Record]:
        dues = [record.due for record in self._watch.records]
        return self._watch.records[bisect_right(dues, after) : bisect_right(dues, to)]


class HealthRecording:
    """``beside`` with the channel ``health`` of ``watch``."""

    def __init__(self, watch: HealthWatch, beside: Recording) -> None:
        self._watch, self._beside = watch, beside

    async def open(self, channel: Channel, view: View) -> ChannelReader:
        """See ``Recording``."""
        if isinstance(channel, HealthChannel):
            return self._watch.reader(channel)
        return await self._beside.open(channel, view)

    async def seq(self) -> int:
        """See ``Recording``."""
        return await self._beside.seq()

    async def look(
        self, readers: Sequence[ChannelReader], view: View, since: int | None, upto: int | None
    ) -> LookAnswer:
        """See ``Recording``: the live edge is not before the last look at the metrics."""
        others = [one for one in readers if not isinstance(one, HealthReader)]
        if len(others) == len(readers):
            return await self._beside.look(readers, view, since, upto)
        self._watch.still_looks()
        if others:
            answer = await self._beside.look(others, view, since, upto)
        else:
            answer = LookAnswer(await self._beside.seq(), None, None, time.time_ns() // 1_000)
        first = self._watch.records[0].due if self._watch.records else None
        starts = [one for one in (answer.start, first) if one is not None]
        lives = [one for one in (answer.live, self._watch.looked) if one is not None]
        return replace(answer, start=min(starts, default=None), live=max(lives, default=None))
