"""Takeover of a partition that is new to this feeder, or that another has fed: from which position to feed
it.

What the broker holds between there and what it delivers is read from the past first (``backfill``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from feeder.delivery.fed_group import MetricGroupFeed, Undelivered, place, stand
from feeder.delivery.leaf_delivery import Leaves, workers_of
from feeder.loop_clock import now
from feeder.positions import ENTRY_STEP, SILENT, Offset, Reached
from feeder.reporting import Counts
from feeder.routing.silence import Silence
from feeder.source.begin import Begin
from feeder.source.partitioned_source import NotDeliveredError, PartitionedSource
from feeder.storing.stored_past import Past

from .backfill import Backfill
from .continuity import Continuity, StoppedError
from .gaps import Gaps, nothing_between


class Takeover:
    """Takes up the partitions of ``source``, for one group after the other. ``past``: what can be read again
    of it (None: what it has itself).

    ``seen``: how far each partition was received, which grows; ``begin``: what was published before is left
    out; ``read_from``: of a partition of a source that is not shared, the first message received, with where
    the source was to begin after (None: at first).
    """

    def __init__(
        self,
        source: PartitionedSource,
        leaves: Leaves,
        backfill: Backfill,
        silence: Silence,
        gaps: Gaps,
        counts: Counts,
        seen: Mapping[int, Offset],
        continuity: Continuity,
        *,
        begin: Begin | None,
        read_from: Callable[[int], tuple[Offset, Offset | None] | None],
        past: Past | None = None,
    ) -> None:
        self._past: Past = source if past is None else past
        self._leaves, self._backfill, self._silence = leaves, backfill, silence
        self._gaps, self._counts, self._seen = gaps, counts, seen
        self._begin, self._shared, self._read_from = begin, source.shared, read_from
        self._continuity = continuity

    async def before(self, fed: MetricGroupFeed, firsts: Mapping[int, Offset], fresh: set[int]) -> bool:
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
        fed.know(known)
        past = False
        for partition, first in starting.items():
            behind, found = await self._taken_up(fed, partition, known.get(partition), first)
            past |= behind
            if place(found) != place(fed.reached.get(partition)):
                fed.level.pop(partition, None)  # others have fed it
            fed.start(partition, found)
        if past:
            for partition, reached in known.items():
                if partition not in fed.reached and partition not in fed.gone:
                    fed.start(partition, reached)
        # First those that lack more than the others, before more is told or sent to the live ones.
        if fed.unchecked:
            past |= await self._backfill.those_behind(fed, progress)
        if past:
            await self._backfill.all_of(fed)
            return False
        if fed.taken_up:
            # Where one leaf has nothing, the others may have had what is fed next.
            await self._complete_after(fed, progress, {*starting, *fed.reached})
        await self._silence.claim(fed, starting)
        return True

    async def _complete_after(
        self, fed: MetricGroupFeed, progress: Mapping[str, Mapping[int, Reached]], partitions: Iterable[int]
    ) -> None:
        """Let the leaves know that they lack nothing once all have been fed what some had in these."""
        furthest = {p: max(has.get(p, SILENT).offset for has in progress.values()) for p in partitions}
        fed.complete_at = {**(fed.complete_at or {}), **furthest}
        await self.complete(fed)

    async def complete(self, fed: MetricGroupFeed) -> None:
        """Let the leaves know that they lack nothing, once they have been sent what any of them had."""
        if fed.complete_at is None:
            return
        delivered = fed.delivered
        if all(delivered.get(p, SILENT.offset) >= at for p, at in fed.complete_at.items()):
            fed.complete_at = None
            await self._leaves.complete(fed.live)

    async def in_silence(self, fed: MetricGroupFeed) -> None:
        """Take up where the leaves are in partitions that have brought nothing here, as after a restart, and
        read what they hold that the leaves have not had.

        What another feeder may be about to feed is left to it at first, and read only where the leaves have
        not moved when it is looked again.
        """
        if fed.undelivered is not None and now() < fed.undelivered.again:
            return
        fed.woken = True
        live = fed.live
        progress = await self._leaves.progress(live)
        if fed.started_anew(progress):
            self._forget(fed)
            fed.woken = True
        progress = await self._silence.admit(fed, progress)
        known = stand(live, progress, self._leaves.incomplete)
        fed.know(known)
        past = elsewhere = False
        fed_live = frozenset(fed.reached)
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
                if not moved:
                    _, found = await self._taken_up(fed, partition, found)
            fed.start(partition, found)
        fed.undelivered = Undelivered(undelivered) if undelivered and not past else None
        fed.woken = fed.undelivered is None
        untaken = {partition: known.get(partition) for partition in undelivered}
        if past:
            for partition, found in untaken.items():
                fed.start(partition, found)
            untaken = {}
        past |= await self._backfill.those_behind(fed, progress, untaken)
        if past:
            await self._backfill.all_of(fed)
        elif elsewhere:
            await self._backfill.wait_for_reader(fed)
        elif not undelivered:
            await self._complete_after(fed, progress, fed_live)
            if any(
                has.get(partition, SILENT).offset < at.offset
                for has in progress.values()
                for partition, at in fed.reached.items()
            ):
                # Whoever fed them had still to tell some of them how far the source is, and was killed.
                self._leaves.owe(fed.live)

    async def _holds_more(self, partition: int, after: Offset | None) -> bool:
        with suppress(NotDeliveredError):  # then it is delivered, sooner or later
            return await self._past.first_after(partition, after) is not None
        return False

    async def after_waiting(self, fed: MetricGroupFeed) -> None:
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

    def _forget(self, fed: MetricGroupFeed) -> None:
        fed.forget()
        self._silence.forget(fed)

    async def _taken_up(
        self, fed: MetricGroupFeed, partition: int, found: Reached | None, first: Offset | None = None
    ) -> tuple[bool, Reached | None]:
        """Whether the broker holds messages between what the leaves have (``found``) and ``first``; and what
        they have, with a gap noted where messages are missing.

        Raises GapError when the broker does not say for now, StoppedError when gaps are the operator's
        business, and TopicResetError.
        """
        behind, held = False, found
        try:
            found = await self._continuity.taken_up(partition, found, first)
            if first is not None:
                behind, gap = await self._is_behind(partition, found, first)
                if gap is not None and found is held:
                    found = self._continuity.with_gap(SILENT if found is None else found, gap)
        except StoppedError as error:
            at = SILENT if held is None else held
            words = f"feeding stopped until the feeder runs with --on-reset continue: {error}"
            told = replace(at, noted=replace(at.noted, gap=words)).as_progress(partition)
            for worker, label in workers_of(fed.live):
                await self._leaves.tell(fed.live, worker, label, [told])
            raise
        if found is not held:
            self._counts.gaps = self._gaps.passed
            self._leaves.owe(fed.live)
        return behind, found

    async def _is_behind(
        self, partition: int, found: Reached | None, first: Offset
    ) -> tuple[bool, str | None]:
        """Whether the broker holds messages between what the leaves have and ``first``, and the gap in words
        where it does not and should.
        """
        after = place(found)
        # The first of an entry is no proof: the entry before it may have had more messages.
        same_entry = after is not None and first.major == after.major and first.minor % ENTRY_STEP > 0
        if after is not None and (after >= first or (same_entry and after.is_next(first))):
            return False, None
        if (reading := self._read_from(partition)) is not None:
            head, since = reading
            if first == head and (since in (None, SILENT.offset) or (after is not None and since <= after)):
                # Nothing lies between. The embedded broker would be asked by reading all of it again.
                return False, None
        moved = self._begin is not None and self._shared and partition not in self._gaps.arrived
        if moved and (after is not None or (self._begin is not None and self._begin.latest)):
            return False, None  # what the moved subscription leaves out is left out
        try:
            stored = await self._past.first_after(partition, after)
        except NotDeliveredError as error:
            return False, self._gaps.unreadable(partition, after, first, error)
        if stored is not None and stored < first:
            return True, None
        missing = after is not None and not after.is_next(first)
        return False, nothing_between(partition, after, first) if missing else None
