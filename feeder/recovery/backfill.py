"""Backfills beside the live feed (``replay``): which leaves get one, and how they join the live feed.

One feeder of a Failover group at a time reads the past (``turn``); with the others, leaves that lack it wait.
While any leaf is not fed live nothing of the topic is acknowledged: what it misses must stay in the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import structlog

from feeder.delivery.fed_group import MetricGroupFeed, Waiting, lacking, place
from feeder.delivery.leaf_delivery import Leaves, workers_of
from feeder.delivery.refused_events import Refusals
from feeder.loop_clock import now
from feeder.message_batch import shown
from feeder.positions import SILENT, Offset, Reached
from feeder.reporting import Counts
from feeder.routing.router import MetricGroup, Routed, Router
from feeder.source.begin import Begin
from feeder.source.partitioned_source import (
    NotDeliveredError,
    PartitionedSource,
    PastLock,
    Run,
    SourceMessage,
)
from feeder.storing.tee import Tee

from .replay import LateLetters, Replay

log = structlog.get_logger("feeder")

# A feeder whose turn it is and who feeds nothing for so long is not waited for.
STALLED_SECONDS = 60.0
# So long the feeding waits for the last of a replay: what it reads from may go away.
JOIN_SECONDS = 15.0


class Backfill:
    """Begins the replays of ``source`` and joins them. ``seen``: how far each partition was received, which
    grows; ``run``: where batches are decoded and routed; ``tee``: who hears of what a whole group makes of
    the past; ``at_once``: messages per batch.
    """

    def __init__(
        self,
        source: PartitionedSource,
        leaves: Leaves,
        refusals: Refusals,
        counts: Counts,
        seen: Mapping[int, Offset],
        run: Run,
        tee: Tee,
        *,
        at_once: int,
        begin: Begin | None,
    ) -> None:
        self._source, self._leaves, self._refusals, self._counts = source, leaves, refusals, counts
        self._seen, self._off_loop, self._at_once, self._begin = seen, run, at_once, begin
        self._turns: dict[str, PastLock | None] = {}
        self._tee = tee

    async def all_of(self, fed: MetricGroupFeed) -> None:
        """Have all leaves that are fed live go through the past from where the clock stands, when it is this
        feeder's turn. They are not fed live meanwhile.
        """
        live, router = fed.live, fed.router
        if not await self._is_turn(fed):
            fed.waiting = self._wait(live, whole=True)
            return
        after = {p: place(fed.reached.get(p)) for p in range(fed.partitions)}
        await self._begin_replay(fed, live, router, after, lambda: dict(self._seen), whole=True)

    async def wait_for_reader(self, fed: MetricGroupFeed) -> None:
        """Have all leaves that are fed live wait when another feeder reads the past: it may be killed before
        it is through.
        """
        if not await self._is_turn(fed):
            fed.waiting = self._wait(fed.live, whole=True)
        else:
            await self.yield_turn(fed)

    async def those_behind(
        self,
        fed: MetricGroupFeed,
        progress: Mapping[str, Mapping[int, Reached]],
        untaken: Mapping[int, Reached | None] | None = None,
    ) -> bool:
        """Have leaves that have not had what the others have had go through the past, when it is this
        feeder's turn. They are not fed live meanwhile.

        True: every leaf lacks something, so there is none to go on from. No backfill is started then, and the
        clock stands where the one that is furthest behind does, for ``all_of``; also in partitions that are
        ``untaken``, which are taken up then at the places given.
        """
        live = fed.live
        behind = lacking(fed, progress, self._leaves.incomplete)
        for partition in fed.reached:
            fed.level[partition] = frozenset(fed.group.leaves)
        if not behind:
            return False
        if len(behind) == len(live.leaves):
            for partition, found in ({} if untaken is None else untaken).items():
                fed.start(partition, found)
            for partition, at in [*fed.reached.items()]:
                least = _least(live, progress, partition)
                # Where nothing of what was fed since can be read again, its watermark stays.
                if least.offset < at.offset and await self._holds(partition, place(least), at.offset):
                    gaps = replace(least.noted, gaps=at.noted.gaps, gap=at.noted.gap)
                    fed.start(partition, replace(least, noted=gaps))
            return True
        own, apart = _apart(live, behind, progress, fed.partitions)
        if not await self._is_turn(fed):
            names = behind if fed.waiting is None else behind | fed.waiting.leaves
            leaves = {n: leaf for n, leaf in fed.group.leaves.items() if n in names}
            fed.waiting = self._wait(replace(own, leaves=leaves), whole=False)
            return False
        after = {p: place(apart.clock.reached.get(p)) for p in range(fed.partitions)}

        def limits() -> dict[int, Offset]:
            return {p: fed.delivered.get(p, SILENT.offset) for p in range(fed.partitions)}

        await self._begin_replay(fed, own, apart, after, limits, whole=False)
        return False

    async def _holds(self, partition: int, after: Offset | None, until: Offset) -> bool:
        """Whether the broker may hold messages of ``partition`` between these two places."""
        try:
            first = await self._tee.past.first_after(partition, after)
        except NotDeliveredError:
            return True
        return first is not None and first <= until

    async def may_read(self, fed: MetricGroupFeed) -> bool:
        """Whether leaves that wait need to wait no more: it is this feeder's turn, or nobody feeds them."""
        waiting = fed.waiting
        if waiting is None or await self._is_turn(fed):
            return True
        if now() - waiting.looked < STALLED_SECONDS:
            return False
        heard = await self._leaves.heard(fed.group)
        if heard == waiting.heard:
            log.warning(
                "the backfill of another feeder makes no progress; running it here, too",
                topic=fed.group.source.topic,
            )
            if (turn := self._turns[fed.group.signature]) is not None:
                turn.do_without()
            return True
        waiting.heard, waiting.looked = heard, now()
        return False

    async def _is_turn(self, fed: MetricGroupFeed) -> bool:
        signature = fed.group.signature
        if signature not in self._turns:
            self._turns[signature] = self._source.past_lock(signature)
        turn = self._turns[signature]
        return turn is None or await turn.take()

    def _wait(self, group: MetricGroup, *, whole: bool) -> Waiting:
        log.info(
            "another feeder runs the backfill; waiting for it",
            topic=group.source.topic,
            metrics=group.metrics,
            **_some_leaves(group, whole),
        )
        return Waiting(frozenset(group.leaves), whole)

    async def yield_turn(self, fed: MetricGroupFeed) -> None:
        """Let another feeder read the past, unless a replay is under way here."""
        turn = self._turns.get(fed.group.signature)
        if turn is not None and not fed.replays:
            await turn.give_back()

    async def _begin_replay(
        self,
        fed: MetricGroupFeed,
        group: MetricGroup,
        router: Router,
        after: Mapping[int, Offset | None],
        limits: Callable[[], Mapping[int, Offset]],
        *,
        whole: bool,
    ) -> None:
        past = await self._tee.past.read_from(after)
        letters = None
        if not whole and group.source.idle_timeout is not None:
            letters = await LateLetters.of(self._source, group.metrics)

        async def take(own: MetricGroup, routed: Routed, batch: Sequence[SourceMessage]) -> None:
            if whole:
                self._tee.offer([(own, routed)])
                await self._refusals.publish(
                    batch, {r.row: (r.reason, r.message, own.metrics) for r in routed.refused}
                )
                self._counts.events += routed.accepted
                self._counts.note_missing(own.source.topic, routed.missing)
            await self._leaves.deliver(own, routed, apart=not whole)
            if whole:
                await self._tee.room()

        replay = Replay(
            group,
            router,
            past,
            whole=whole,
            limits=limits,
            take=take,
            run=self._off_loop,
            at_once=self._at_once,
            begin=self._begin,
            letters=letters,
        )
        fed.replays.append(replay)
        if whole:
            fed.begin_delivery()
        log.info(
            "backfill started",
            topic=group.source.topic,
            metrics=group.metrics,
            **_some_leaves(group, whole),
            after={p: "the beginning" if at is None else shown(at) for p, at in after.items()},
        )

    async def join(self, fed: MetricGroupFeed) -> None:
        """Go on live with the leaves whose replay has come to where the live feeding is, which must wait."""
        for replay in [*fed.replays]:
            if not replay.near:
                continue
            if not replay.whole and any(other.whole for other in fed.replays):
                replay.resume()  # the others are on their way themselves
                continue
            if not await replay.finish(JOIN_SECONDS):
                log.warning(
                    "the last of a backfill takes long; feeding on meanwhile",
                    topic=fed.group.source.topic,
                    metrics=fed.group.metrics,
                )
                continue
            fed.replays.remove(replay)
            self._counts.replayed += replay.messages
            clock = fed.router.clock
            if replay.whole:
                fed.end_delivery()
                for partition, reached in clock.reached.items():
                    fed.skip[partition] = reached.offset
                    fed.level.pop(partition, None)
                self._leaves.owe(fed.live)
            else:
                async with asyncio.TaskGroup() as tasks:
                    for worker, label in workers_of(replay.group):
                        told = clock.progress()
                        tasks.create_task(self._leaves.tell(replay.group, worker, label, told))
            if fed.taken_up:
                await self._leaves.complete(fed.live if replay.whole else replay.group)
            log.info(
                "backfill finished",
                topic=fed.group.source.topic,
                metrics=fed.group.metrics,
                **_some_leaves(replay.group, replay.whole),
                messages=replay.messages,
            )
            await self.yield_turn(fed)

    async def stop(self, fed: MetricGroupFeed) -> None:
        """Stop the replays of a group, which lacks what they had not come to."""
        for replay in fed.replays:
            await replay.close()

    async def forget(self, fed: MetricGroupFeed) -> None:
        """End what is done for a group that is not fed any more."""
        await self.stop(fed)
        fed.replays.clear()
        await self.yield_turn(fed)


def _some_leaves(group: MetricGroup, whole: bool) -> dict[str, list[str]]:
    """The field of a log line that names the leaves of ``group``, where these are not all that there are."""
    return {} if whole else {"leaves": sorted(group.leaves)}


def _apart(
    live: MetricGroup, names: Collection[str], progress: Mapping[str, Mapping[int, Reached]], partitions: int
) -> tuple[MetricGroup, Router]:
    """The leaves of ``names`` as a group of their own, with a router that stands where they do."""
    own = replace(live, leaves={n: leaf for n, leaf in live.leaves.items() if n in names})
    router = Router(own, partitions)
    for partition in range(partitions):
        least = _least(own, progress, partition)
        if least.offset != SILENT.offset:
            router.clock.start(partition, least)
    return own, router


def _least(group: MetricGroup, progress: Mapping[str, Mapping[int, Reached]], partition: int) -> Reached:
    """How far the worker of ``group`` is in ``partition`` that is furthest behind."""
    everyone = (progress.get(worker, {}).get(partition, SILENT) for worker, _ in workers_of(group))
    return min(everyone, key=lambda r: r.offset)
