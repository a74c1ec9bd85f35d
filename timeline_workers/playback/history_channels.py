"""Channels of a history store: readers of the events of a source definition, and of the pieces of nodes.

Windows are parts of pages, and whole instants: where one instant has more than the limit, all of it is read.
A page holds as of the system time at which it was read; ``looked`` is told what was stored since. What
retention has forgotten meanwhile is a gap, not an error. See ``recording.ChannelReader``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast

from pydantic_core import from_json

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import Code, QuestionError
from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history import model as history
from timeline_workers.history.store import HistoryStore

from .history_values import change_of, level_of
from .items import Change, ChannelLevels, Item, Missing, OpenedChannel, Record, View
from .pages import PAGE, Page
from .recording import ChannelWindow

Row = TypeVar("Row", history.StoredEvent, history.Piece)


@dataclass(slots=True)
class _Read(Generic[Row]):
    """A page, and as of which system time it holds, of what was known at ``as_of``."""

    page: Page[Row]
    seen: int
    as_of: int | None


class _Reader(Generic[Row]):
    """What both readers have in common."""

    def __init__(
        self, store: HistoryStore, definition: str, info: OpenedChannel, gaps: Sequence[Missing]
    ) -> None:
        self._store, self.definition, self.info, self._gaps = store, definition, info, gaps
        self._read: _Read[Row] | None = None
        self._looked = 0  # the system time up to which it was told what was stored

    async def _page(self, view: View, start: int, end: int, limit: int, after: Row | None) -> list[Row]:
        """Rows due in ``[start, end)``, those behind the row ``after``."""
        raise NotImplementedError

    def _due(self, row: Row) -> int:
        raise NotImplementedError

    def _item(self, row: Row) -> Record | Change:
        raise NotImplementedError

    async def _items(self, view: View, after: int, to: int, limit: int) -> tuple[int, list[Item], int | None]:
        """Items due in ``(after, upto]``, ``upto``, and the system time as of which that is."""
        start, read = after + 1, self._read
        if read is None or read.as_of != view.as_of or not read.page.fills(start, to, limit):
            reach = await self._store.reach(self.definition)
            page = await self._whole(view, start, to, max(limit, PAGE))
            if reach is None:
                return self._part(page, start, to, limit, None)
            read = _Read(page, reach.seen, view.as_of)
            # One that was read while the store was looked at may lack what that has found.
            self._read = read if reach.seen >= self._looked else None
        return self._part(read.page, start, to, limit, read.seen)

    def _part(
        self, page: Page[Row], start: int, to: int, limit: int, seen: int | None
    ) -> tuple[int, list[Item], int | None]:
        upto, rows = page.part(start, to, limit)
        return upto, [self._item(row) for row in rows], seen

    async def _whole(self, view: View, start: int, to: int, limit: int) -> Page[Row]:
        """The rows due from ``start`` to ``to``: at most ``limit``, but all of one instant."""
        end, rows = to + 1, await self._page(view, start, to + 1, limit + 1, None)
        if len(rows) > limit:
            last = self._due(rows[limit])
            if self._due(rows[0]) < last:
                end = last
            else:  # one instant with more than the limit
                end = last + 1
                while True:
                    more = await self._page(view, last, last + 1, PAGE, rows[-1])
                    rows += more
                    if len(more) < PAGE:
                        break
        dues = [self._due(row) for row in rows]
        many = bisect_left(dues, end)
        return Page(start, end, dues[:many], rows[:many])

    def looked(self, since: int, seen: int, upto: int, stored: Sequence[tuple[int, int]]) -> None:
        """``stored``, as (system time, instant), is all that was stored between system times ``since`` and
        ``seen`` and lies up to the instant ``upto``: what is held is as of ``seen``, or no longer held.
        """
        self._looked = max(self._looked, seen)
        read = self._read
        if read is None or read.seen >= seen:
            return
        is_told = read.seen >= since and read.page.end <= upto + 1
        if is_told and not any(when > read.seen and instant < read.page.end for when, instant in stored):
            read.seen = seen
        else:
            self._read = None

    def has(self, seen: int, instant: int) -> bool:
        """Whether what it holds includes what was stored at system time ``seen`` and lies at ``instant``."""
        return self._read is not None and self._read.page.has(instant) and seen <= self._read.seen

    @property
    def held_until(self) -> int:
        """Up to where rows are held, to be given later."""
        return EARLIEST if self._read is None else self._read.page.end - 1

    async def window(self, view: View, after: int, to: int, limit: int) -> ChannelWindow:
        """See ``ChannelReader``."""
        gaps = list(self._gaps)
        try:
            upto, items, seen = await self._items(view, after, to, limit)
        except QuestionError as error:
            floor = await self._floor()
            if error.code is not Code.NOT_KEPT or floor <= after + 1:
                raise
            gaps.append(Missing(0, after + 1, floor, "not kept any more"))
            upto, items, seen = min(floor - 1, to), [], None
            if floor <= to:
                upto, items, seen = await self._items(view, floor - 1, to, limit)
        met = [gap for gap in gaps if gap.start <= upto and gap.end > after]
        if met:
            items += [replace(gap, due=max(gap.start, after + 1)) for gap in met]
            items.sort(key=lambda item: item.due)
        return ChannelWindow(upto, items, seen)

    async def _floor(self) -> int:
        """Nothing below this can be asked for."""
        reach = await self._store.reach(self.definition)
        return EARLIEST if reach is None or reach.kept_from is None else reach.kept_from


class EventsReader(_Reader[history.StoredEvent]):
    """The events of a definition that have one of ``outcomes``."""

    def __init__(
        self,
        store: HistoryStore,
        definition: str,
        info: OpenedChannel,
        keys: Sequence[Key] | None,
        gaps: Sequence[Missing],
        outcomes: frozenset[history.Outcome],
    ) -> None:
        super().__init__(store, definition, info, gaps)
        self.keys, self._outcomes = keys, outcomes

    async def _page(
        self, view: View, start: int, end: int, limit: int, after: history.StoredEvent | None
    ) -> list[history.StoredEvent]:
        return await self._store.events(
            self.definition,
            start,
            end,
            keys=self.keys,
            outcomes=self._outcomes,
            as_of=view.as_of,
            after=None if after is None else history.EventCursor(cast(int, after.time), after.position),
            limit=limit,
        )

    def _due(self, row: history.StoredEvent) -> int:
        return cast(int, row.time)

    def _item(self, row: history.StoredEvent) -> Record:
        return _record(row)

    async def count(self, view: View, after: int, to: int) -> int:
        """See ``ChannelReader``."""
        if after >= to:
            return 0
        found = await self._store.density(
            self.definition, after + 1, to + 1, 1, keys=self.keys, as_of=view.as_of
        )
        return sum(sum(counts) for outcome, counts in found.items() if outcome in self._outcomes)

    async def neighbour(self, view: View, at: int, back: bool) -> int | None:
        """See ``ChannelReader``."""
        start, end = (await self._floor(), at) if back else (at + 1, LATEST + 1)
        found = await self._store.events(
            self.definition,
            start,
            end,
            keys=self.keys,
            outcomes=self._outcomes,
            as_of=view.as_of,
            limit=1,
            backwards=back,
        )
        return found[0].time if found else None

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        """See ``ChannelReader``: records have none."""
        return ChannelLevels(0, ())

    async def stored_after(self, seen: int, upto: int) -> list[Record]:
        """Those up to an event time of which the store was told after ``seen``."""
        floor = await self._floor()
        if upto < floor:
            return []
        found = await self._store.events(
            self.definition, floor, upto + 1, keys=self.keys, outcomes=self._outcomes, seen_after=seen
        )
        return [_record(one) for one in found]


class PiecesReader(_Reader[history.Piece]):
    """The timelines of some nodes, of some keys or all."""

    def __init__(
        self,
        store: HistoryStore,
        definition: str,
        info: OpenedChannel,
        keys: Sequence[history.Group] | None,
        gaps: Sequence[Missing],
    ) -> None:
        super().__init__(store, definition, info, gaps)
        self.keys = keys
        self.names = [node.node for node in info.nodes]

    async def _page(
        self, view: View, start: int, end: int, limit: int, after: history.Piece | None
    ) -> list[history.Piece]:
        return await self._store.pieces(
            self.names,
            start,
            end,
            keys=self.keys,
            as_of=view.as_of,
            carried=False,
            after=None if after is None else history.PieceCursor(after.start, after.node, after.key),
            limit=limit,
        )

    def _due(self, row: history.Piece) -> int:
        return row.start

    def _item(self, row: history.Piece) -> Change:
        return change_of(row)

    async def count(self, view: View, after: int, to: int) -> int:
        """See ``ChannelReader``: by pages, as the store does not count pieces."""
        many, last = 0, None
        while after < to:
            found = await self._page(view, after + 1, to + 1, PAGE, last)
            many += len(found)
            if len(found) < PAGE:
                break
            last = found[-1]
        return many

    async def neighbour(self, view: View, at: int, back: bool) -> int | None:
        """See ``ChannelReader``."""
        start, end = (await self._floor(), at) if back else (at + 1, LATEST + 1)
        found = await self._store.pieces(
            self.names,
            start,
            end,
            keys=self.keys,
            as_of=view.as_of,
            carried=False,
            limit=1,
            backwards=back,
        )
        return found[0].start if found else None

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        """See ``ChannelReader``: the busiest keys are those with most events up to ``at``."""
        shown, count = self.keys, None
        if shown is None and self.info.kind != "aggregate":
            active = await self._store.keys_active(
                self.definition, await self._floor(), at + 1, as_of=view.as_of, limit=keys
            )
            if active.count > keys:
                shown, count = [key for key, _ in active.busiest], active.count * len(self.names)
        elif shown is not None and len(shown) > keys:
            shown, count = shown[:keys], len(shown) * len(self.names)
        found = await self._store.snapshot(self.names, at, keys=shown, as_of=view.as_of)
        reach = await self._store.reach(self.definition)
        mark = None if reach is None or view.as_of is not None else reach.watermark
        levels = tuple(level_of(one, at, mark) for one in found)
        return ChannelLevels(len(levels) if count is None else count, levels)


def _record(event: history.StoredEvent) -> Record:
    time = cast(int, event.time)
    payload: object = None
    try:
        payload = from_json(event.payload)
    except ValueError:  # a dead letter may be anything
        payload = {"payload": event.payload.decode(errors="replace")}
    shown = payload if isinstance(payload, dict) else {"payload": payload}
    if event.outcome is not history.Outcome.ACCEPTED:
        shown = {"event": shown, "reason": event.reason, "message": event.message}
    return Record(time, time, event.key, shown, event.position, event.seen)
