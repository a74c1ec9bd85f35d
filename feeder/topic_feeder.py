"""The feeder of one topic: receives a batch, routes it, publishes dead letters, delivers to leaves,
acknowledges.

Every partition has one feeder at a time and its messages come in order; the acknowledgement is cumulative per
partition. While one batch is delivered the next gathers; how large they get goes by how busy Temporal and the
workers are (``pace``). Nothing is ever negatively acknowledged: that
would break the order. What the leaves of a group need and the broker does not deliver any more is read from
the past (``takeover``, ``backfill``); meanwhile the others go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import time
from typing import Any, Protocol

import numpy as np
import structlog

from feeder.delivery.fed_group import MetricGroupFeed, stand
from feeder.delivery.leaf_delivery import Leaves
from feeder.delivery.pace import Pace
from feeder.delivery.refused_events import Refusals
from feeder.delivery.retry import persist, returned
from feeder.recovery.backfill import Backfill
from feeder.recovery.continuity import Continuity, OnReset
from feeder.recovery.gaps import Gaps, Order
from feeder.recovery.takeover import Takeover
from feeder.routing.router import Messages, MetricGroup, Routed
from feeder.routing.silence import Silence
from feeder.source.accepted import Accepted
from feeder.source.begin import Begin
from feeder.source.partitioned_source import PartitionedSource, Run, SourceError, SourceMessage
from feeder.storing.tee import NoTee, Tee
from timeline_workers.columns.values import Int64
from timeline_workers.errors import TimelineError

from .loop_clock import now
from .message_batch import offset_of, partitions_of, read
from .metric_catalog import Catalog
from .positions import SILENT, Offset, Reached, advancing
from .reporting import Counts
from .threads import OneThread

log = structlog.get_logger("feeder")

SUBSCRIPTION = "timeline-feeder"
BATCH_MESSAGES = 40_000
# For so long a batch that is not full is left to gather, at most (``pace``).
BATCH_WAIT_MS = 500
# How often it is looked whether the topic has other partitions. (The client library looks once a minute.)
PARTITIONS_SECONDS = 5.0
# A topic that has brought nothing for so long since it was opened is quiet, not slow.
QUIET_SECONDS = 1.0
# A partition that has brought nothing for so long, while others have.
SILENT_SECONDS = 5.0
# For so long is waited for what is under way when the feeding ends, and for the source to close.
LEAVING_SECONDS = 30.0


# A consumer that is not connected for so long, while the broker answers, has been given up by the client
# library, as when its topic was deleted.
DISCONNECTED_SECONDS = 5.0


class TopicChangedError(TimelineError):
    """The topic has other partitions than it had: connect again, to feed all of them."""


class DisconnectedError(TimelineError):
    """The client library does not connect to the topic again by itself."""


class Elsewhere(Protocol):
    """Where long computations run, so that the event loop stays free (``threads.OneThread``)."""

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Return what ``call`` returns."""

    def close(self) -> None:
        """Nothing more is run."""


class TopicFeeder:
    """Feeds one topic, which ``source`` is. ``run`` it; the catalog may change its groups between two
    batches.

    ``source`` is this feeder's own, and closed with it; ``gaps`` and ``counts`` outlive it. ``begin``: where
    to begin, None: where the source or the leaves are. ``tee``: who hears of what is made of the messages,
    given where to judge the past.
    """

    def __init__(
        self,
        source: PartitionedSource,
        catalog: Catalog,
        leaves: Leaves,
        gaps: Gaps,
        counts: Counts,
        *,
        batch_messages: int = BATCH_MESSAGES,
        batch_wait_ms: int = BATCH_WAIT_MS,
        gather_ms: int = 0,
        begin: Begin | None = None,
        on_reset: OnReset = OnReset.resume,
        elsewhere: Callable[[str], Elsewhere] = OneThread,
        tee: Callable[[Run], Tee] | None = None,
    ) -> None:
        self.topic, self._source = source.topic, source
        self._batch, self._begin = batch_messages, begin
        self._pace, self._ready = Pace(batch_wait_ms / 1e3, gather_ms / 1e3), threading.Event()
        self._catalog, self._leaves, self._gaps, self._counts = catalog, leaves, gaps, counts
        self._partitions, self._shared = len(source.names), source.shared
        self._groups: dict[str, MetricGroupFeed] = {}
        self._version = catalog.version
        self._order = Order()
        self._reads_after: dict[int, Offset | None] = {}
        # What is fed live does not wait for what is computed for the past.
        self._live, self._past = elsewhere("live"), elsewhere("replay")
        self._tee: Tee = NoTee(source) if tee is None else tee(self._past.run)
        self._refusals = Refusals(source, counts)
        self._cancelled = False
        seen = self._order.seen
        self._continuity = Continuity(source, gaps, on_reset)
        self._looking: asyncio.Task[None] | None = None
        self._silence = Silence(source, leaves, seen)
        self._backfill = Backfill(
            source,
            leaves,
            self._refusals,
            counts,
            seen,
            self._past.run,
            self._tee,
            at_once=batch_messages,
            begin=begin,
        )
        self._takeover = Takeover(
            source,
            leaves,
            self._backfill,
            self._silence,
            gaps,
            counts,
            seen,
            self._continuity,
            begin=begin,
            read_from=self._read_from,
            past=self._tee.past,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Feed until ``stop`` is set; the batch in hand is finished and acknowledged first."""
        try:
            await self._run(stop)
        except TimelineError:
            # What fails on the way out, as a tee whose work was cancelled, too, does not undo it. (How often
            # the task was cancelled does not tell: a group of tasks does that to the one that waits for it.)
            if self._cancelled:
                raise asyncio.CancelledError from None
            raise

    async def _run(self, stop: asyncio.Event) -> None:
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        self._accepted = Accepted(self._source)
        log.info("feeding", topic=self.topic)
        receive = self._receive()
        self._opened = self._counted = now()
        try:
            while not stop.is_set():
                # A full batch does not wait to be due.
                await asyncio.wait([receive], timeout=self._pace.left(now()))
                self._ready.set()
                batch = await returned(f"receiving from topic {self.topic}", receive)
                if stop.is_set():
                    break  # not acknowledged: it comes again
                receive = self._receive()
                await self._count_partitions(batch)
                await self._look_whether_it_goes_on()
                if batch:
                    # After receiving: a metric applied before these events were published must be known.
                    await persist("reading the catalog", self._catalog.refresh)
                groups = await self._current()
                if not groups:
                    return
                for group in groups:
                    await self._takeover.after_waiting(group)
                    await self._backfill.join(group)
                    await self._tee.go_on(group)
                if batch:
                    await self._feed(groups, batch)
                else:
                    await self._rest(groups)
                for group in groups:
                    # Others may go on without a pause for as long as some partition brings nothing.
                    silent = not (group.woken or group.taken_up) and self._is_open_for(SILENT_SECONDS)
                    if (group.undelivered is not None or silent) and not group.whole:
                        await self._takeover.in_silence(group)
                    await self._silence.let_rise(group)
            for group in await self._current():
                await group.tell(self._leaves)
        except asyncio.CancelledError:
            self._cancelled = True
            raise
        finally:
            try:
                await self._leave(receive)
            finally:
                await self._close()  # whatever fails: what is left open would be given messages

    async def _leave(self, receive: asyncio.Task[Sequence[SourceMessage]]) -> None:
        for group in self._groups.values():
            await self._backfill.stop(group)
        self._ready.set()
        await asyncio.wait([receive], timeout=LEAVING_SECONDS)
        if self._looking is not None:
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._tee.drain()
        with suppress(SourceError):
            # What was accepted; if the source is gone, it comes again and is skipped.
            await self._acknowledge()

    async def _close(self) -> None:
        try:
            await self._tee.close()
        finally:
            with suppress(TimeoutError):  # a client library that has failed closes nothing
                async with asyncio.timeout(LEAVING_SECONDS):
                    await self._source.close()
            self._live.close()
            self._past.close()

    async def _count_partitions(self, batch: Sequence[SourceMessage]) -> None:
        """Raise TopicChangedError when the topic has other partitions than it had."""
        count = max((message.partition for message in batch), default=-1) + 1
        if count > self._partitions:
            raise TopicChangedError(f"the topic has {count} partitions, and had {self._partitions}")
        if self._shared and now() - self._counted >= PARTITIONS_SECONDS:
            with suppress(SourceError):  # it may be away for a moment
                if (names := await self._source.names_now()) != self._source.names:
                    raise TopicChangedError(
                        f"the topic has {len(names)} partitions, and had {self._partitions}"
                    )
                if self._source.lost_for > DISCONNECTED_SECONDS:
                    raise DisconnectedError(
                        "the client library does not reconnect, though the broker answers"
                    )
            self._counted = now()

    async def _look_whether_it_goes_on(self) -> None:
        """Raise TopicResetError when the topic is not the one any more that was fed so far."""
        if self._looking is not None and self._looking.done():
            done, self._looking = self._looking, None
            with suppress(SourceError):  # it is looked again
                done.result()
        if self._source.was_lost():
            # Before anything is fed that came since.
            await self._continuity.look(everywhere=True)
        elif self._looking is None and self._continuity.due and not self._source.lost_for:
            self._looking = asyncio.create_task(self._continuity.look())

    def _receive(self) -> asyncio.Task[Sequence[SourceMessage]]:
        self._ready = threading.Event()
        return asyncio.create_task(self._source.receive(self._ready))

    async def _open(self) -> None:
        await self._continuity.open(await self._marks())
        if not self._shared:
            self._reads_after = await self._where_the_leaves_are()
            await self._source.open(self._reads_after, None, self._batch)
            return
        await self._source.open({}, None if self._gaps.begun else self._begin, self._batch)
        self._gaps.begun = True

    def _read_from(self, partition: int) -> tuple[Offset, Offset | None] | None:
        if partition not in self._reads_after or partition not in self._order.heads:
            return None
        return self._order.heads[partition], self._reads_after[partition]

    async def _marks(self) -> dict[int, Reached]:
        """Per partition the furthest that any leaf of any group is, with what it has applied."""
        marks = dict.fromkeys(range(self._partitions), SILENT)
        for group in self._catalog.topics.get(self.topic, []):
            for reached in (await self._leaves.heard(group)).values():
                for partition, at in reached.items():
                    marks[partition] = max(at, marks.get(partition, SILENT), key=lambda r: r.offset)
        return marks

    async def _where_the_leaves_are(self) -> dict[int, Offset | None]:
        """Per partition the least place after which some group must be fed. Groups that have nothing yet read
        the past beside the others.
        """
        after: dict[int, Offset | None] = dict.fromkeys(range(self._partitions))
        for group in self._catalog.topics.get(self.topic, []):
            progress = await self._leaves.progress(group)
            for partition, reached in stand(group, progress, self._leaves.incomplete).items():
                if partition not in after:
                    continue  # the topic had more partitions once
                held = after[partition]
                after[partition] = reached.offset if held is None else min(held, reached.offset)
        return after

    async def _current(self) -> list[MetricGroupFeed]:
        """The groups that are to be fed now. When a metric was applied or removed it is looked again who has
        what: a leaf may be a new one.
        """
        groups: Sequence[MetricGroup] = self._catalog.topics.get(self.topic, [])
        for group in groups:
            fed = self._groups.setdefault(group.signature, MetricGroupFeed(group, self._partitions))
            fed.take(group)
        if self._catalog.version != self._version:
            self._version = self._catalog.version
            for gone in self._groups.keys() - {group.signature for group in groups}:
                fed = self._groups.pop(gone)
                self._silence.forget(fed)
                await self._backfill.forget(fed)
            for fed in self._groups.values():
                fed.look_again()
            await self._tee.keep_to(self._groups.values())
        return [self._groups[group.signature] for group in groups]

    # Batches.

    async def _feed(self, groups: Sequence[MetricGroupFeed], batch: Sequence[SourceMessage]) -> None:
        messages = await self._live.run(read, batch)
        while batch:
            cut = self._order.before_gap(messages)
            if cut == len(batch):
                await self._feed_piece(groups, batch, messages)
                return
            await self._feed_piece(groups, batch[:cut], messages.take(np.arange(cut)))
            batch, messages = batch[cut:], messages.take(np.arange(cut, len(messages)))

    async def _feed_piece(
        self, groups: Sequence[MetricGroupFeed], batch: Sequence[SourceMessage], messages: Messages
    ) -> None:
        firsts, fresh = self._order.take(messages, lambda row: batch[row].ends_entry)
        self._continuity.note(messages, firsts)
        refused: dict[int, tuple[str, str, list[str]]] = {}
        deliveries: list[tuple[MetricGroup, Routed]] = []
        counts = self._counts
        for fed in groups:
            if fed.whole or not await self._takeover.before(fed, firsts, fresh):
                continue
            await self._tee.go_on(fed)
            live, router = fed.live, fed.router
            rows = self._wanted(fed, messages)
            counts.skipped += len(messages) - len(rows)
            if not len(rows):
                continue
            part = messages if len(rows) == len(messages) else messages.take(rows)
            fed.begin_delivery()
            routed = await self._live.run(router.route, part)
            deliveries.append((live, routed))
            for r in routed.refused:
                entry = refused.setdefault(int(rows[r.row]), (r.reason, r.message, []))
                entry[2].extend(live.metrics)
            counts.events += routed.accepted
            counts.note_missing(self.topic, routed.missing)
        self._silence.heard(firsts)
        offered = self._tee.offer(deliveries, batch, firsts)
        await self._refusals.publish(batch, refused)
        began = now()
        async with asyncio.TaskGroup() as tasks:
            for live, routed in deliveries:
                tasks.create_task(self._leaves.deliver(live, routed))
        if deliveries:
            self._pace.delivered(began, now(), full=len(messages) >= self._batch)
        for fed in groups:
            if not fed.whole:
                fed.end_delivery()
                await self._takeover.complete(fed)
        offered.delivered = True
        await self._tee.room()
        self._gaps.arrived.update(firsts)
        self._note_accepted()
        if self._accepted.due:
            await self._acknowledge()
        for fed in groups:
            if not fed.whole and self._leaves.due(fed.live):
                await fed.tell(self._leaves)
        counts.messages += len(messages)
        counts.batches += 1
        counts.lag = max(0.0, time() - int(messages.published.max()) / 1e6)

    def _wanted(self, fed: MetricGroupFeed, messages: Messages) -> Int64:
        """The messages that the leaves of a group have not had; a reconnection brings some again."""
        keep = np.zeros(len(messages), np.bool_)
        router = fed.router
        for partition in partitions_of(messages.position):
            rows = np.flatnonzero(messages.position.partition == partition)
            new, last = advancing(messages.position.take(rows), fed.skip.get(partition))
            fed.skip[partition] = last
            wanted = rows[new]
            if self._begin is not None and self._begin.published is not None and not self._shared:
                early = wanted[messages.published[wanted] < self._begin.published]
                if len(early):
                    wanted = wanted[messages.published[wanted] >= self._begin.published]
                    row = int(early[-1])
                    router.clock.pass_over(
                        partition, offset_of(messages.position, row), int(messages.published[row])
                    )
                    self._leaves.owe(fed.live)
            keep[wanted] = True
        return np.flatnonzero(keep)

    async def _rest(self, groups: Sequence[MetricGroupFeed]) -> None:
        """Nothing has come: acknowledge, tell what is owed, and see to groups that nothing has come for."""
        self._counts.lag = 0.0
        self._note_accepted()
        if self._accepted or self._tee.lacks():  # asked, a tee gives up what it has waited for too long
            await self._acknowledge()
        for fed in groups:
            if fed.whole:
                continue
            if self._leaves.owes(fed.live):
                await fed.tell(self._leaves)
            if self._is_open_for(QUIET_SECONDS) and (not fed.woken or fed.unchecked):
                await self._takeover.in_silence(fed)

    def _is_open_for(self, seconds: float) -> bool:
        return now() - self._opened >= seconds

    def _note_accepted(self) -> None:
        for offered in self._tee.done():
            self._accepted.note(offered.batch, offered.partitions)

    async def _acknowledge(self) -> None:
        self._note_accepted()
        # What a replay misses must stay in the source, and what the tee does.
        if not any(fed.lacks_past for fed in self._groups.values()) and not self._tee.lacks():
            await self._accepted.acknowledge()
