"""Taking up a partition that is new to this feeder, or that another has fed: where the leaves of a group are.

What the broker holds between there and what it delivers is read from the past first (``backfill``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic

import pulsar

from .backfill import Backfill
from .fed_group import FedGroup, Undelivered, place, stand
from .gaps import Gaps
from .history import History
from .intake import Begin
from .leaves import Leaves
from .progress import ENTRY_STEP, SILENT, Offset, Reached
from .report import Counts
from .silence import Silence


class Takeover:
    """Takes up the partitions of one topic, for one group after the other.

    ``seen``: how far each partition was received, which grows; ``begin``: what was published before is left
    out; ``shared``: other feeders may have some of the partitions; ``read_from``: of a partition that a
    Reader of this feeder's own reads, the first message received, with where it began after (None: at first).
    """

    def __init__(
        self,
        history: History,
        leaves: Leaves,
        backfill: Backfill,
        silence: Silence,
        gaps: Gaps,
        counts: Counts,
        seen: Mapping[int, Offset],
        *,
        begin: Begin | None,
        shared: bool,
        read_from: Callable[[int], tuple[Offset, Offset | None] | None],
    ) -> None:
        self._history, self._leaves, self._backfill, self._silence = history, leaves, backfill, silence
        self._gaps, self._counts, self._seen = gaps, counts, seen
        self._begin, self._shared, self._read_from = begin, shared, read_from

    async def before(self, fed: FedGroup, firsts: Mapping[int, Offset], fresh: set[int]) -> bool:
        """Take up where the leaves are before messages are fed that begin with ``firsts``: in partitions that
        are new here, and those (``fresh``) that do not go on from where they were here.

        False: the past comes first, and the group is not fed until it is through. Raises GapError when the
        broker does not say for now what it holds.
        """
        router, live = fed.router, fed.live
        starting = {
            p: at
            for p, at in firsts.items()
            if p in fresh or p not in router.clock.reached or self._silence.may_have_risen(fed, p)
        }
        if not starting and not fed.unchecked:
            return True
        progress = await self._leaves.progress(live)
        if fed.started_anew(progress):
            self._forget(fed)
            starting = dict(firsts)
        progress = await self._silence.admit(fed, progress)
        known = stand(live, progress, self._leaves.incomplete)
        past = False
        for partition, first in starting.items():
            found = known.get(partition)
            past |= await self._is_behind(partition, found, first)
            if place(found) != place(fed.reached.get(partition)):
                fed.level.pop(partition, None)  # others have fed it
            fed.start(partition, found)
        if past:
            for partition, reached in known.items():
                if partition not in fed.reached:
                    fed.start(partition, reached)
        # First those that lack more than the others, before more is told or sent to the live ones.
        if fed.unchecked:
            await self._backfill.those_behind(fed, progress)
        if past:
            await self._backfill.all_of(fed)
            return False
        if fed.taken_up:
            await self._leaves.complete(fed.live)
        await self._silence.claim(fed, starting)
        return True

    async def in_silence(self, fed: FedGroup) -> None:
        """Take up where the leaves are in partitions that have brought nothing here, as after a restart, and
        read what they hold that the leaves have not had.

        What another feeder may be about to feed is left to it at first, and read only where the leaves have
        not moved when it is looked again.
        """
        if fed.undelivered is not None and monotonic() < fed.undelivered.again:
            return
        fed.woken = True
        live = fed.live
        progress = await self._leaves.progress(live)
        if fed.started_anew(progress):
            self._forget(fed)
            fed.woken = True
        progress = await self._silence.admit(fed, progress)
        known = stand(live, progress, self._leaves.incomplete)
        past = elsewhere = False
        before = {} if fed.undelivered is None else fed.undelivered.places
        undelivered: dict[int, Offset | None] = {}
        for partition in range(fed.partitions):
            if partition in fed.reached:
                continue
            found = known.get(partition)
            after = place(found)
            if after is None and self._begin is not None and self._begin.latest:
                continue
            if partition in self._seen:
                # What was received here does not come again; what follows it does.
                past |= found is None or found.offset < self._seen[partition]
            elif await self._holds_more(partition, after):
                if self._shared and partition not in before:
                    undelivered[partition] = after
                    continue
                moved = self._shared and before[partition] != after
                past, elsewhere = past or not moved, elsewhere or moved
            fed.start(partition, found)
        fed.undelivered = Undelivered(undelivered) if undelivered and not past else None
        fed.woken = fed.undelivered is None
        await self._backfill.those_behind(fed, progress)
        if past:
            for partition in undelivered:
                fed.start(partition, known.get(partition))
            await self._backfill.all_of(fed)
        elif elsewhere:
            await self._backfill.wait_for_reader(fed)
        elif not undelivered:
            await self._leaves.complete(fed.live)

    async def _holds_more(self, partition: int, after: Offset | None) -> bool:
        with suppress(pulsar.Timeout):  # then it is delivered, sooner or later
            return await self._history.first_after(partition, after) is not None
        return False

    async def after_waiting(self, fed: FedGroup) -> None:
        """Look anew what the leaves lack, where they have waited for another feeder to read the past and wait
        no more: it may have read all, or have been killed.
        """
        # A replay that is under way here holds on to the place where the live feeding is.
        if fed.waiting is None or fed.replays or not await self._backfill.may_read(fed):
            return
        fed.waiting = None
        self._forget(fed)
        await self.in_silence(fed)
        await self._backfill.yield_turn(fed)

    def _forget(self, fed: FedGroup) -> None:
        fed.forget()
        self._silence.forget(fed)

    async def _is_behind(self, partition: int, found: Reached | None, first: Offset) -> bool:
        """Whether the broker holds messages between what the leaves have and ``first``.

        Raises GapError when it does not say for now.
        """
        after = place(found)
        # The first of an entry is no proof: the entry before it may have had more messages.
        same_entry = after is not None and first.major == after.major and first.minor % ENTRY_STEP > 0
        if after is not None and (after >= first or (same_entry and after.is_next(first))):
            return False
        if (reading := self._read_from(partition)) is not None:
            head, since = reading
            if first == head and (since in (None, SILENT.offset) or (after is not None and since <= after)):
                # Nothing lies between. The embedded broker would be asked by reading all of it again.
                return False
        moved = self._begin is not None and self._shared and partition not in self._gaps.arrived
        if moved and (after is not None or (self._begin is not None and self._begin.latest)):
            return False  # what the moved subscription leaves out is left out
        try:
            stored = await self._history.first_after(partition, after)
        except pulsar.Timeout as error:
            self._gaps.unreadable(partition, after, first, error)
            return False
        if stored is not None and stored < first:
            return True
        if after is not None and not after.is_next(first):
            self._gaps.passed_by(partition, after, first)
            self._counts.gaps = self._gaps.passed
        return False
