"""Channels of a history store: readers of the events of a source definition, and of the pieces of nodes.

Windows are read by pages, and whole instants: where one instant has more than the limit, all of it is read.
What retention has forgotten meanwhile is a gap, not an error. See ``recording.ChannelReader``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from pydantic_core import from_json

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import Code, QuestionError
from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history import model as history
from timeline_workers.history.store import HistoryStore

from .history_values import change_of, level_of
from .items import ChannelLevels, Item, Missing, OpenedChannel, Record, View
from .recording import ChannelWindow

PAGE = 10_000


class _Reader:
    """What both readers have in common."""

    def __init__(
        self, store: HistoryStore, definition: str, info: OpenedChannel, gaps: Sequence[Missing]
    ) -> None:
        self._store, self.definition, self.info, self._gaps = store, definition, info, gaps

    async def _items(self, view: View, after: int, to: int, limit: int) -> tuple[int, list[Item]]:
        raise NotImplementedError

    async def window(self, view: View, after: int, to: int, limit: int) -> ChannelWindow:
        """See ``ChannelReader``."""
        gaps = list(self._gaps)
        try:
            upto, items = await self._items(view, after, to, limit)
        except QuestionError as error:
            floor = await self._floor()
            if error.code is not Code.NOT_KEPT or floor <= after + 1:
                raise
            gaps.append(Missing(0, after + 1, floor, "not kept any more"))
            upto, items = min(floor - 1, to), []
            if floor <= to:
                upto, items = await self._items(view, floor - 1, to, limit)
        items += [
            replace(gap, due=max(gap.start, after + 1))
            for gap in gaps
            if gap.start <= upto and gap.end > after
        ]
        return ChannelWindow(upto, tuple(sorted(items, key=lambda item: item.due)))

    async def _floor(self) -> int:
        """Nothing below this can be asked for."""
        reach = await self._store.reach(self.definition)
        return EARLIEST if reach is None or reach.kept_from is None else reach.kept_from


class EventsReader(_Reader):
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
        self, view: View, start: int, end: int, limit: int, after: history.EventCursor | None = None
    ) -> list[history.StoredEvent]:
        return await self._store.events(
            self.definition,
            start,
            end,
            keys=self.keys,
            outcomes=self._outcomes,
            as_of=view.as_of,
            after=after,
            limit=limit,
        )

    async def _items(self, view: View, after: int, to: int, limit: int) -> tuple[int, list[Item]]:
        found = await self._page(view, after + 1, to + 1, limit + 1)
        if len(found) > limit:
            last = cast(int, found[limit].time)
            if cast(int, found[0].time) < last:
                to = last - 1
            else:  # one instant with more than the limit: all of it
                to = last
                while True:
                    cursor = history.EventCursor(last, found[-1].position)
                    more = await self._page(view, last, last + 1, PAGE, cursor)
                    found += more
                    if len(more) < PAGE:
                        break
        return to, [_record(one) for one in found if cast(int, one.time) <= to]

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


class PiecesReader(_Reader):
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
        self, view: View, start: int, end: int, limit: int, after: history.PieceCursor | None = None
    ) -> list[history.Piece]:
        return await self._store.pieces(
            self.names,
            start,
            end,
            keys=self.keys,
            as_of=view.as_of,
            carried=False,
            after=after,
            limit=limit,
        )

    async def _items(self, view: View, after: int, to: int, limit: int) -> tuple[int, list[Item]]:
        found = await self._page(view, after + 1, to + 1, limit + 1)
        if len(found) > limit:
            last = found[limit].start
            if found[0].start < last:
                to = last - 1
            else:
                to = last
                while True:
                    cursor = history.PieceCursor(last, found[-1].node, found[-1].key)
                    more = await self._page(view, last, last + 1, PAGE, cursor)
                    found += more
                    if len(more) < PAGE:
                        break
        return to, [change_of(one) for one in found if one.start <= to]

    async def count(self, view: View, after: int, to: int) -> int:
        """See ``ChannelReader``: by pages, as the store does not count pieces."""
        many, cursor = 0, None
        while after < to:
            found = await self._page(view, after + 1, to + 1, PAGE, cursor)
            many += len(found)
            if len(found) < PAGE:
                break
            cursor = history.PieceCursor(found[-1].start, found[-1].node, found[-1].key)
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
    return Record(time, time, event.key, shown, tuple(event.position), event.seen)


def cut(dues: Sequence[int], to: int, limit: int) -> int:
    """Up to where items due at ``dues``, in order, are at most ``limit``, but for all of one instant."""
    if len(dues) <= limit:
        return to
    return dues[limit] - 1 if dues[0] < dues[limit] else dues[limit]
