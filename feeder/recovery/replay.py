"""The loop of a backfill: the past of a topic, read again for some leaves, up to where the live feed is.

Two cases. A *whole* group has not had what the subscription is past: its metric is new on a topic that has
been fed for others, or the broker has left messages out. Then its own router takes it through the past. Or
single *leaves* are new beside a group that is being fed: then a router of their own goes through the past,
with watermarks as they were. Meanwhile the live feeding leaves them out, and nothing is acknowledged, so that
what they miss stays in the broker. They chase the live feeding, which waits only for the last stretch.

Leaves drop what they have had, so that a replay that was cut short is begun again from where its leaves are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np
import structlog

from feeder.message_batch import last_rows, offset_of, read, shown
from feeder.positions import Offset
from feeder.routing.router import Messages, MetricGroup, Routed, Router
from feeder.source.begin import Begin
from feeder.source.partitioned_source import PartitionedSource, PastReader, Run, SourceError, SourceMessage
from timeline_workers.columns.values import Bools
from timeline_workers.errors import TimelineError

log = structlog.get_logger("feeder")

LETTERS = 20_000
WAIT_MS = 20


class Replay:
    """One replay for the leaves of ``group``. ``whole``: they are all that there are, and ``router`` is
    theirs.

    ``limits``: how far the live feeding is now, per partition (a partition that is left out: to its end).
    ``take``: what is done with a routed batch, of about ``at_once`` messages. ``begin``: what was published
    before is left out. ``run``: where batches are decoded and routed.
    """

    def __init__(
        self,
        group: MetricGroup,
        router: Router,
        past: PastReader,
        *,
        whole: bool,
        limits: Callable[[], Mapping[int, Offset]],
        take: Callable[[MetricGroup, Routed, Sequence[SourceMessage]], Awaitable[None]],
        run: Run,
        at_once: int,
        begin: Begin | None = None,
        letters: LateLetters | None = None,
    ) -> None:
        self.group, self.whole = group, whole
        self._router, self._past = router, past
        self._limits, self._take, self._run = limits, take, run
        self._at_once, self._begin, self._letters = at_once, begin, letters
        self.messages = 0
        self._ended: dict[int, Offset] = {}
        self._task = asyncio.create_task(self._chase())

    @property
    def near(self) -> bool:
        """Whether it has come to where the live feeding was; raises what made it fail."""
        if self._task.done():
            self._task.result()
            return True
        return False

    @property
    def stopped(self) -> bool:
        """Whether it goes no further by itself: it is near, or has failed."""
        return self._task.done()

    def resume(self) -> None:
        """Chase the live feeding, which has moved on since this was near."""
        self._task = asyncio.create_task(self._chase())

    async def finish(self, seconds: float | None = None) -> bool:
        """Go to where the live feeding stands, which must wait. False: it has not come there within
        ``seconds``, as where a store of the past has gone away, and goes on by itself as before.
        """
        self.resume()
        await asyncio.wait([self._task], timeout=seconds)
        if not self._task.done():
            return False
        self._task.result()
        await self.close()
        return True

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._past.close()
        if self._letters is not None:
            await self._letters.close()

    async def _chase(self) -> None:
        while True:
            limits = {**self._ended, **self._limits()}
            stored = await self._past.read(self._at_once, limits, WAIT_MS)
            if stored:
                await self._feed(stored)
                if self._past.knows_ends:
                    await self._note_ends(limits)
            elif await self._is_there(limits):
                return

    async def _note_ends(self, limits: Mapping[int, Offset]) -> None:
        # Who else feeds a partition goes on at its end: not all that it brings must be read here, too.
        for partition in sorted(self._past.partitions - limits.keys()):
            reached = self._router.clock.reached.get(partition)
            if reached is not None and await self._past.at_end(partition):
                self._ended[partition] = reached.offset

    async def _is_there(self, limits: Mapping[int, Offset]) -> bool:
        reached = self._router.clock.reached
        for p in sorted(self._past.partitions):
            fed = p in limits and p in reached and reached[p].offset >= limits[p]
            if not fed and not await self._past.at_end(p):
                return False
        return True

    async def _feed(self, stored: Sequence[SourceMessage]) -> None:
        messages = await self._run(read, stored)
        rows = np.arange(len(messages))
        if self._begin is not None and self._begin.published is not None:
            rows = np.flatnonzero(messages.published >= self._begin.published)
        late = None if self._letters is None else await self._letters.late(messages)
        if len(rows):
            part = messages.take(rows)
            routed = await self._run(self._router.route, part, None if late is None else late[rows])
            await self._take(self.group, routed, [stored[i] for i in rows.tolist()])
        for partition, row in last_rows(messages.position).items():
            place, published = offset_of(messages.position, row), int(messages.published[row])
            self._router.clock.pass_over(partition, place, published)
        self.messages += len(rows)


class LateLetters:
    """Which messages were late when they came, as the dead letters tell: also those that only a silent
    partition's risen watermark made late. ``metrics``: those for which it counts.
    """

    def __init__(self, past: PastReader | None, metrics: Sequence[str]) -> None:
        self._metrics = frozenset(metrics)
        self._late: set[tuple[int, str]] = set()
        self._past = past

    @staticmethod
    async def of(source: PartitionedSource, metrics: Sequence[str]) -> LateLetters:
        """Those of ``source``; none where its dead letters cannot be read. Close them."""
        try:
            return LateLetters(await source.read_letters(), metrics)
        except (SourceError, TimelineError) as error:
            log.warning(
                "cannot read the dead letters; the backfill judges lateness by watermarks alone",
                topic=source.topic,
                error=str(error),
            )
            return LateLetters(None, metrics)

    async def late(self, messages: Messages) -> Bools:
        """Whether each message was late. What was fed live has its letters stored already."""
        while self._past is not None:
            stored = await self._past.read(LETTERS, None, WAIT_MS)
            for message in stored:
                about = message.properties
                if about.get("reason") == "late" and self._metrics & set(about["metrics"].split(", ")):
                    self._late.add((int(about["partition"]), about["position"]))
            if not stored and all([await self._past.at_end(p) for p in sorted(self._past.partitions)]):
                break
        at = messages.position
        return np.fromiter(
            (
                (p, shown(Offset(major, minor))) in self._late
                for p, major, minor in zip(
                    at.partition.tolist(), at.major.tolist(), at.minor.tolist(), strict=True
                )
            ),
            np.bool_,
            len(messages),
        )

    async def close(self) -> None:
        """Stop reading."""
        if self._past is not None:
            await self._past.close()
