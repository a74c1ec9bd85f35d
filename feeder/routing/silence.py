"""Watermarks of partitions that bring nothing, between feeders (``idle`` says what they rise to).

The commit leaf decides: a watermark has risen when the commit leaf has it, so that what was final once is so
after a restart, too. A feeder that gets a message after a silence first has the commit leaf refuse what
others, who may still think the partition silent, say of it. A partition that was added to the topic is a
silent one, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import structlog

from feeder.delivery.fed_group import MetricGroupFeed, added, final, place
from feeder.delivery.leaf_delivery import Leaves, workers_of
from feeder.loop_clock import now
from feeder.positions import SILENT, Offset, Reached
from feeder.source.partitioned_source import NotDeliveredError, PartitionedSource

from .idle_partitions import Idle
from .router import MetricGroup

log = structlog.get_logger("feeder")

# How long a partition that is gone counts as just heard of, where the source has no time-out.
GONE_MICROSECONDS = 4_000_000

Progresses = Mapping[str, Mapping[int, Reached]]
"""How far leaf workers are, by name and partition."""


class Silence:
    """The silent partitions of ``source``. ``seen``: how far each partition was received, which grows."""

    def __init__(self, source: PartitionedSource, leaves: Leaves, seen: Mapping[int, Offset]) -> None:
        self._source, self._leaves, self._seen, self._shared = source, leaves, seen, source.shared
        self._heard: dict[int, float] = {}
        self._caught_up: dict[int, Offset] = {}
        self._idle: dict[str, Idle] = {}

    def heard(self, partitions: Iterable[int]) -> None:
        """Note that messages of these have come."""
        self._heard.update(dict.fromkeys(partitions, now()))

    def forget(self, fed: MetricGroupFeed) -> None:
        """Know nothing any more of how long the partitions of a group are silent."""
        self._idle.pop(fed.group.signature, None)

    def may_have_risen(self, fed: MetricGroupFeed, partition: int) -> bool:
        """Whether another feeder may have let the watermark of a silent partition rise."""
        timeout = fed.group.source.idle_timeout
        if timeout is None or not self._shared:
            return False
        return now() - self._heard.get(partition, float("-inf")) > timeout / 2e6

    async def claim(self, fed: MetricGroupFeed, starting: Mapping[int, Offset]) -> None:
        """Have the commit leaf refuse what another feeder, which may still think a partition silent, says of
        its watermark; and start from what it had said before.
        """
        if not self._shared:
            return
        live, clock = fed.live, fed.router.clock
        worker, label = live.commit_leaf()
        claims = {}
        for partition, first in starting.items():
            held = clock.reached.get(partition, SILENT)
            if fed.group.source.idle_timeout is None and (held.watermark is None or place(held) is not None):
                continue  # nobody says anything of it but who feeds it
            just_before = Offset(first.major, first.minor - 1)
            if just_before > held.offset:
                # No message need be there, so none is known to have been published then.
                claims[partition] = replace(held, offset=just_before, published=None)
        if not claims:
            return
        await self._leaves.tell(live, worker, label, [r.as_progress(p) for p, r in claims.items()])
        committed = await self._leaves.asked(worker)
        for partition in claims:
            mark = committed.get(partition, SILENT).watermark
            if mark is not None:
                clock.rise(partition, mark)

    async def admit(self, fed: MetricGroupFeed, progress: Progresses) -> Progresses:
        """Let partitions that were added to the topic since the group was first fed begin at the group's
        watermark: what they bring below is late, as answers are final there. Returns how far the leaves are.
        """
        fed.admitted = True
        # Who knows of no partition has called nothing final; told of one, it would take it for all.
        heard = {worker: reached for worker, reached in progress.items() if reached}
        names = {worker.rpartition(".")[0] for worker in heard}
        if not names:
            return progress
        old = replace(fed.live, leaves={n: leaf for n, leaf in fed.live.leaves.items() if n in names})
        committed = heard.get(old.commit_leaf()[0], {})
        new = added(heard, committed, fed.partitions)
        mark = final(heard) if new else None
        if mark is None:
            return progress  # nothing is final: a partition begins like any other
        if unheard := sorted(new - committed.keys()):
            log.info(
                "partitions were added to the topic; their events below the watermark are late",
                topic=old.source.topic,
                metrics=old.metrics,
                partitions=unheard,
                watermark=mark,
            )
        unknown = {worker: new - reached.keys() for worker, reached in heard.items()}
        await self._tell_risen(old, {p: Reached(SILENT.offset, mark) for p in new}, heard.keys())
        progress = await self._leaves.progress(fed.live)
        # Others may have fed the leaves until these were told. Since then none has gone further.
        since = final({worker: progress[worker] for worker in heard}, unknown)
        if since is not None and since > mark:
            await self._tell_risen(old, {p: Reached(SILENT.offset, since) for p in new}, heard.keys())
            progress = await self._leaves.progress(fed.live)
        return progress

    async def let_rise(self, fed: MetricGroupFeed) -> None:
        """Let the watermarks of silent partitions rise, as the source's idle policy says, and those of
        partitions that the topic had before it was recreated with fewer.
        """
        timeout = fed.group.source.idle_timeout
        known = fed.admitted and fed.undelivered is None and not fed.unchecked
        if (timeout is None and not fed.gone) or fed.whole or not known:
            return
        idle = self._idle.setdefault(
            fed.group.signature, Idle(GONE_MICROSECONDS if timeout is None else timeout)
        )
        looked = now()
        if looked - idle.looked < idle.every:
            return
        idle.looked = looked
        committed = await self._leaves.asked(fed.live.commit_leaf()[0])
        reached = {p: committed.get(p, SILENT) for p in (*range(fed.partitions), *fed.gone)}
        idle.note(reached, now())
        silent = set(fed.gone)
        if timeout is not None:
            still = idle.silent(looked) - fed.gone
            silent |= {p for p in still if await self._is_caught_up(p, reached[p])}
        risen = idle.risen(reached, silent, looked)
        if not risen:
            return
        told = {p: replace(reached[p], watermark=mark) for p, mark in risen.items()}
        clock = fed.router.clock
        for partition, r in (await self._tell_risen(fed.live, told)).items():
            if clock.reached.get(partition, SILENT).offset == r.offset and r.watermark is not None:
                clock.rise(partition, r.watermark)

    async def _tell_risen(
        self, live: MetricGroup, told: dict[int, Reached], to: Collection[str] | None = None
    ) -> dict[int, Reached]:
        """Tell (these workers) that the watermarks of these partitions have risen; return those that nobody
        has fed since.
        """
        worker, label = live.commit_leaf()
        # The commit leaf first: what is final once must be so after a restart, too. It takes it only where no
        # message has come since.
        await self._leaves.tell(live, worker, label, [r.as_progress(p) for p, r in told.items()])
        confirmed = await self._leaves.asked(worker)
        told = {p: r for p, r in told.items() if confirmed.get(p, SILENT).offset == r.offset}
        progress = await self._leaves.progress(live)
        async with asyncio.TaskGroup() as tasks:
            for other, other_label in workers_of(live):
                # A leaf that is behind may still be sent what it lacks, by another feeder: not past that.
                there = [
                    r.as_progress(p)
                    for p, r in told.items()
                    if progress[other].get(p, SILENT).offset == r.offset
                ]
                if other != worker and there and (to is None or other in to):
                    tasks.create_task(self._leaves.tell(live, other, other_label, there))
        return told

    async def _is_caught_up(self, partition: int, reached: Reached) -> bool:
        """Whether the broker holds nothing of ``partition`` after ``reached``."""
        if not self._shared:
            seen = self._seen.get(partition)
            if seen is not None and seen > reached.offset:
                return False
            # What has come since would be among what was seen; to look means to read the whole topic.
            if self._caught_up.get(partition) == reached.offset:
                return True
        try:
            first = await self._source.first_after(partition, place(reached))
        except NotDeliveredError:
            return False
        if not self._shared and first is None:
            self._caught_up[partition] = reached.offset
        return first is None
