"""``HistoryTee``: the history of what one feeder makes of its topic.

What is routed is queued and written behind the feeding's back, in order. Only what goes on from what is
stored is queued (``following``); what does not is read from the past when the store answers, beside the
feeding, up to where that is. So everything is stored once, whoever is killed, and in order by partition.

When the queue is full the feeding waits, as long as the store answers, and so it does where the past would
never catch up with it. When the store does not answer, the queue is given up and the source keeps what was
fed, as nothing is acknowledged. After ``patience`` it is acknowledged all the same; what the source does not
hold any more when the store answers again is a gap there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import structlog

from feeder.delivery.fed_group import MetricGroupFeed, place
from feeder.loop_clock import now
from feeder.positions import SILENT, Offset, Reached
from feeder.recovery.replay import LateLetters, Replay
from feeder.routing.router import MetricGroup, Routed, Router
from feeder.source.begin import Begin
from feeder.source.partitioned_source import PartitionedSource, Run, SourceError, SourceMessage
from timeline_workers.errors import HistoryError
from timeline_workers.history.model import Followed, Gap, Judged, RawEvent, definition_of

from .following import CatchUp, Following, holes, share_of
from .history_thread import Stores
from .history_writer import HistoryWriter
from .stored_past import Past, StoredPast
from .tee import Offered, in_order, still_runs
from .verdict_rows import Share

log = structlog.get_logger("feeder")

# So many messages wait for the store, at most, beside one batch.
QUEUED = 80_000
# So many of them are written at once, about.
AT_ONCE = 20_000
# A store that answers so soon is waited for, when it is first asked how far it is.
ASK_SECONDS = 1.0
AGAIN_SECONDS = 5.0
LOOK_SECONDS = 0.5
DRAIN_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class _Piece:
    shares: list[Share]
    gaps: list[Gap]
    offered: Offered
    judged: Sequence[Judged] = ()

    @property
    def messages(self) -> int:
        return sum(len(share.rows) for share in self.shares)


class HistoryTee:
    """Writes into ``stores`` what is made of ``source`` (see ``Tee``). ``run``: where the past is judged;
    ``at_once``: how many messages of it; ``begin``: what was published before is left out.
    """

    def __init__(
        self,
        source: PartitionedSource,
        stores: Stores,
        run: Run,
        *,
        patience: float,
        at_once: int,
        begin: Begin | None = None,
    ) -> None:
        self._source, self._off_loop, self._at_once, self._begin = source, run, at_once, begin
        self._writer = HistoryWriter(source.topic, stores, patience)
        self.past: Past = StoredPast(source, self._writer.look, self._writer.stored)
        self._names: dict[str, str] = {}
        self._followings: dict[str, Following] = {}
        self._queue: deque[_Piece] = deque()
        self._writing: list[_Piece] = []
        self._offered: deque[Offered] = deque()
        self._more, self._moved = asyncio.Event(), asyncio.Event()
        self._gave_up = False
        self._task = asyncio.create_task(self._write())

    # What the feeder says.

    async def go_on(self, fed: MetricGroupFeed) -> None:
        """See ``Tee``."""
        if not fed.group.keeps_events:
            return
        following = self._following(fed.group)
        if following.places is None and not await self._ask(following):
            return
        if following.catching_up is not None:
            await self._join(following, fed)
        elif not fed.whole or following.behind:
            await self._look(following, fed)
            if not following.lacks and fed.group.source.idle_timeout is not None:
                self._tell_risen(following, fed)

    async def keep_to(self, feds: Collection[MetricGroupFeed]) -> None:
        """See ``Tee``."""
        names = {self._name(fed.group) for fed in feds if fed.group.keeps_events}
        for name in self._followings.keys() - names:
            await self._followings.pop(name).close()

    def offer(
        self,
        routed: Iterable[tuple[MetricGroup, Routed]],
        batch: Sequence[SourceMessage] = (),
        partitions: Collection[int] = (),
    ) -> Offered:
        """See ``Tee``."""
        offered = Offered(batch, partitions)
        shares: list[Share] = []
        gaps: list[Gap] = []
        for group, one in routed:
            if not group.keeps_events:
                continue
            following = self._following(group)
            if following.catching_up is not None:
                following.catching_up.fed += len(one.decided.messages)
                continue
            if following.behind:
                continue
            share = following.share(one)
            if share is None:
                following.lose()
                continue
            following.goes_on(share)
            following.marks.update((p.partition, p.watermark) for p in one.progress)
            shares.append(share)
            gaps += holes(one, group.source) if len(share.rows) else []
        if partitions:
            self._offered.append(offered)
        if self._writer.silent and self._waiting() > QUEUED:
            self._drop()
        elif any(len(share.rows) for share in shares):
            self._queue.append(_Piece(shares, gaps, offered))
            self._more.set()
            return offered
        offered.kept = True
        return offered

    async def room(self) -> None:
        """See ``Tee``."""
        self._still_writes()
        while not self._writer.silent and (self._waiting() > QUEUED or self._falls_back()):
            self._moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), LOOK_SECONDS)
            self._still_writes()

    def _falls_back(self) -> bool:
        ways = (following.catching_up for following in self._followings.values())
        return any(one.falls_back(QUEUED) for one in ways if one is not None)

    def done(self) -> Iterator[Offered]:
        """See ``Tee``."""
        self._still_writes()
        yield from in_order(self._offered)

    def lacks(self) -> bool:
        """See ``Tee``."""
        if not self._writer.given_up:
            self._gave_up = False
            # What was read from the past is not told by what is acknowledged.
            past = any(not piece.offered.partitions for piece in (*self._writing, *self._queue))
            return past or any(following.lacks for following in self._followings.values())
        if not self._gave_up:
            log.error(
                "history store does not answer, and patience is over: acknowledging without it; what the "
                "broker no longer holds when it answers will be a gap",
                topic=self._source.topic,
            )
            self._gave_up = True
        self._drop()
        return False

    async def drain(self) -> None:
        """See ``Tee``."""
        until = now() + DRAIN_SECONDS
        while (self._queue or self._writing) and not self._writer.silent and now() < until:
            if self._task.done():
                return
            self._moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), LOOK_SECONDS)

    async def close(self) -> None:
        """See ``Tee``."""
        ended = self._task.done()
        self._task.cancel()
        await asyncio.wait([self._task])
        for following in self._followings.values():
            await following.close()
        if ended:
            self._still_writes()

    def _tell_risen(self, following: Following, fed: MetricGroupFeed) -> None:
        """Have the watermarks stored that have risen without an event, as those of silent partitions do."""
        marks = {p.partition: p.watermark for p in fed.router.clock.progress()}
        if marks != following.marks and not self._writer.silent:
            following.marks = marks
            told = Judged(following.definition, (), marks)
            self._queue.append(_Piece([], [], Offered((), (), delivered=True), [told]))
            self._more.set()

    # The queue.

    def _still_writes(self) -> None:
        """Raise what has ended the writing, so that nobody goes on as if what is queued would be stored."""
        still_runs(self._task, f"writing the history of topic {self._source.topic}")

    def _waiting(self) -> int:
        return sum(piece.messages for piece in self._queue)

    def _drop(self) -> None:
        """Give up what waits: it is read from the past when the store answers."""
        if self._queue or self._writing:
            log.warning(
                "history store does not answer; what was fed stays in the broker until it does",
                topic=self._source.topic,
            )
        lost = {id(piece.offered) for piece in (*self._queue, *self._writing)}
        self._offered = deque(offered for offered in self._offered if id(offered) not in lost)
        self._queue.clear()
        for following in self._followings.values():
            if following.places is not None and following.catching_up is None:
                following.lose()

    async def _write(self) -> None:
        while True:
            self._more.clear()
            if not self._queue:
                await self._more.wait()
                continue
            many = 0
            while self._queue and (not many or many + self._queue[0].messages <= AT_ONCE):
                piece = self._queue.popleft()
                many += piece.messages
                self._writing.append(piece)
            shares = [share for piece in self._writing for share in piece.shares]
            gaps = [gap for piece in self._writing for gap in piece.gaps]
            judged = [one for piece in self._writing for one in piece.judged]
            await self._writer.append(shares, gaps, judged)
            for piece in self._writing:
                piece.offered.kept = True
            self._writing.clear()
            self._moved.set()

    # Definitions.

    def _name(self, group: MetricGroup) -> str:
        name = self._names.get(group.signature)
        if name is None:
            name = self._names[group.signature] = definition_of(group.reading)
        return name

    def _following(self, group: MetricGroup) -> Following:
        name = self._name(group)
        return self._followings.setdefault(name, Following(name))

    async def _ask(self, following: Following) -> bool:
        """Find out how far the store is; whether it has said so."""
        if following.asking is None:
            following.asking = asyncio.create_task(self._writer.followed(following.definition))
            await asyncio.wait([following.asking], timeout=ASK_SECONDS)
        if not following.asking.done():
            return False
        told, following.asking = following.asking.result(), None
        following.take(told)
        return True

    async def _look(self, following: Following, fed: MetricGroupFeed) -> None:
        """Begin to catch up where the store is behind."""
        if following.short_of(fed.reached) and not following.fresh:
            # Others may have written since.
            following.lose()
            if not await self._ask(following):
                return
        short = following.short_of(fed.reached)
        following.behind = bool(short)
        if not short or now() < following.again:
            return
        try:
            following.catching_up = await self._catch_up(following, fed, short)
        except SourceError as error:
            self._try_again(following, error)

    def _try_again(self, following: Following, error: Exception) -> None:
        log.warning(
            "cannot bring the history up to date; trying again", topic=self._source.topic, error=str(error)
        )
        following.again = now() + AGAIN_SECONDS
        following.lose()

    async def _catch_up(
        self, following: Following, fed: MetricGroupFeed, partitions: frozenset[int]
    ) -> CatchUp:
        router = Router(fed.group, fed.partitions, judges_only=True)
        for partition in partitions & following.told.keys():
            major, minor, watermark = following.told[partition]
            router.clock.start(partition, Reached(Offset(major, minor), watermark))
        after = {p: place(router.clock.reached.get(p)) for p in partitions}

        def limits() -> Mapping[int, Offset]:
            at = {p: r.offset for p, r in fed.reached.items()} if fed.whole else fed.delivered
            return {p: at[p] for p in partitions if p in at}

        async def take(own: MetricGroup, routed: Routed, batch: Sequence[SourceMessage]) -> None:
            rows = share_of(following.definition, routed, np.arange(len(routed.decided.messages)))
            await self._writer.append([rows], holes(routed, own.source), hurry=following.hurries)
            if following.catching_up is not None:
                following.catching_up.stored += len(batch)
            self._moved.set()

        async def stored(partition: int, since: Offset | None, limit: int) -> Sequence[RawEvent]:
            return await self._writer.stored(partition, since, limit, hurry=following.hurries)

        past = await StoredPast(self._source, self._writer.look, stored).read_from(after)
        letters = None
        if fed.group.source.idle_timeout is not None or await self._lacks_some(after):
            # By watermarks alone, what is read would be late less often than it was.
            letters = await LateLetters.of(self._source, fed.group.metrics)
        log.info(
            "history is behind; reading the past for it",
            topic=self._source.topic,
            definition=following.definition,
            partitions=sorted(partitions),
        )
        replay = Replay(
            fed.group,
            router,
            past,
            whole=False,
            limits=limits,
            take=take,
            run=self._off_loop,
            at_once=min(self._at_once, AT_ONCE),
            begin=self._begin,
            letters=letters,
        )
        return CatchUp(replay, router, partitions)

    async def _lacks_some(self, after: Mapping[int, Offset | None]) -> bool:
        """Whether something that follows these places is gone."""
        for partition, since in after.items() if self._source.shared else ():
            first = await self.past.first_after(partition, since)
            if since is not None and first is not None and not since.is_next(first):
                return True
        return False

    async def _join(self, following: Following, fed: MetricGroupFeed) -> None:
        """Go on with the feeding, which must wait, where the past has come to where it stands."""
        one = following.catching_up
        assert one is not None
        assert following.places is not None
        try:
            if not one.replay.near:
                return
            one.joins = True
            await one.replay.finish()
            await self._end_of_past(following, fed, one)
        except (SourceError, HistoryError) as error:
            await following.close()
            self._try_again(following, error)
            return
        following.catching_up, following.behind = None, False
        log.info("history is up to date", topic=self._source.topic, messages=one.replay.messages)

    async def _end_of_past(self, following: Following, fed: MetricGroupFeed, one: CatchUp) -> None:
        """Note where the past has come to, and a gap where it holds less than was fed."""
        assert following.places is not None
        reached = one.router.clock.reached
        followed: dict[int, Followed] = {}
        gaps: list[Gap] = []
        for partition in one.partitions:
            at, fed_to = reached.get(partition, SILENT), fed.reached.get(partition, SILENT)
            if at.offset < fed_to.offset:
                followed[partition] = Followed(*fed_to.offset, fed_to.watermark)
                if fed_to.published is not None:  # else no message need be there (``Silence.claim``)
                    until = fed_to.published + fed.group.source.clock_skew + 1
                    gaps.append(Gap(self._source.topic, at.watermark, until, _NOTHING.format(partition)))
            following.places[partition] = max(at.offset, fed_to.offset)
        following.fresh = False
        if followed:
            told = Judged(following.definition, (), {}, followed)
            await self._writer.append([], gaps, [told], hurry=True)


_NOTHING = "partition {}: what was fed while the store was away could not be read again"
