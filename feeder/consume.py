"""One topic: receive a batch, route it, publish its dead letters, deliver it to the leaves, acknowledge it.

The subscription is Failover, so every partition has one consumer at a time and its messages come in order;
the acknowledgement is cumulative per partition. While one batch is delivered the next is received. Nothing
is ever negatively acknowledged: that would break the order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, time

import numpy as np
import pulsar
import structlog

from timeline_workers.algebra.values import Int64
from timeline_workers.events.batch import Positions
from timeline_workers.pulsar_client import check_broker, explained

from .catalog import Catalog
from .deadletter import DeadLetter, DeadLetters, dead_letter_topic
from .gaps import Gaps
from .leaves import Leaves
from .progress import ENTRY_STEP, Offset, advancing, gap, minor_of, resume
from .retry import persist
from .route import Group, Messages, Routed, Router

log = structlog.get_logger("feeder")

SUBSCRIPTION = "timeline-feeder"
BATCH_MESSAGES = 20_000
BATCH_BYTES = 16 * 1024 * 1024
BATCH_WAIT_MS = 20
# While messages flow, acknowledge this often; at once when none come.
ACKNOWLEDGE_SECONDS = 1.0


@dataclass(slots=True)
class Counts:
    """What has become of the messages of a topic since the feeder started."""

    messages: int = 0
    events: int = 0
    late: int = 0
    refused: int = 0
    skipped: int = 0
    batches: int = 0
    gaps: int = 0
    lag: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)


class TopicFeeder:
    """Feeds one topic. ``run`` it; ``groups`` may be replaced between two batches by the catalog.

    ``client`` is this feeder's own, and closed with it; ``gaps`` outlives it.
    """

    def __init__(
        self,
        client: pulsar.Client,
        url: str,
        topic: str,
        catalog: Catalog,
        leaves: Leaves,
        gaps: Gaps,
        *,
        subscription: str = SUBSCRIPTION,
        batch_messages: int = BATCH_MESSAGES,
        batch_wait_ms: int = BATCH_WAIT_MS,
    ) -> None:
        self.topic = topic
        self.counts = Counts()
        self._catalog = catalog
        self._leaves = leaves
        self._gaps = gaps
        self._client = client
        self._routers: dict[str, Router] = {}
        self._letters = DeadLetters(client, url, topic)
        self._seen: dict[int, Offset] = {}
        # Per partition, the last message that every leaf has been sent, until it is acknowledged.
        self._accepted: dict[int, tuple[Offset, pulsar.MessageId]] = {}
        self._acknowledged_at = monotonic()
        # A partition's messages up to here need nothing more from a group.
        self._skip: dict[tuple[str, int], Offset] = {}
        # Blocking calls to the client library get threads of their own: receiving must not wait for
        # publishing.
        self._receiving = ThreadPoolExecutor(1, thread_name_prefix="receive")
        self._working = ThreadPoolExecutor(1, thread_name_prefix="work")
        try:
            self._partitions = max(1, check_broker(client, url, topic))
            self._consumer = self._subscribe(url, subscription, batch_messages, batch_wait_ms)
        except BaseException:
            # With the connection goes what the broker thinks of a subscription that has timed out here: it
            # would deliver messages to it that nobody reads.
            client.close()
            raise

    def _subscribe(self, url: str, subscription: str, messages: int, wait_ms: int) -> pulsar.Consumer:
        with explained(url, self.topic):
            return self._client.subscribe(
                self.topic,
                subscription,
                consumer_type=pulsar.ConsumerType.Failover,
                initial_position=pulsar.InitialPosition.Earliest,
                # The embedded broker sometimes delivers entries again when a queue runs full, which costs
                # time.
                receiver_queue_size=2 * messages,
                batch_receive_policy=pulsar.ConsumerBatchReceivePolicy(messages, BATCH_BYTES, wait_ms),
            )

    async def run(self, stop: asyncio.Event) -> None:
        """Feed until ``stop`` is set; the batch in hand is finished and acknowledged first."""
        loop = asyncio.get_running_loop()
        receive = loop.run_in_executor(self._receiving, self._consumer.batch_receive)
        try:
            while not stop.is_set():
                batch = await receive
                if stop.is_set():
                    break  # not acknowledged: it comes again
                receive = loop.run_in_executor(self._receiving, self._consumer.batch_receive)
                if batch:
                    # After receiving: a metric applied before these events were published must be known.
                    await persist("reading the catalog", self._catalog.refresh)
                groups = self._catalog.topics.get(self.topic, [])
                if not groups:
                    return
                if batch:
                    await self._feed(groups, batch)
                else:
                    self.counts.lag = 0.0
                    if self._accepted:
                        await loop.run_in_executor(self._working, self._acknowledge)
                    await self._settle(groups)
            for group in self._catalog.topics.get(self.topic, []):
                await self._tell(group)
        finally:
            await asyncio.wait([receive])
            await loop.run_in_executor(self._working, self._close)
            self._receiving.shutdown(wait=False)
            self._working.shutdown(wait=False)

    async def _feed(self, groups: Sequence[Group], batch: Sequence[pulsar.Message]) -> None:
        loop = asyncio.get_running_loop()
        messages = await loop.run_in_executor(self._working, read, batch)
        firsts, fresh = self._look(messages)
        routers = [self._router(group) for group in groups]
        for group, router in zip(groups, routers, strict=True):
            await self._catch_up(group, router, firsts, fresh)
        refused: dict[int, tuple[str, str, list[str]]] = {}
        deliveries: list[tuple[Group, Routed]] = []
        for group, router in zip(groups, routers, strict=True):
            rows = self._unskipped(group, messages)
            self.counts.skipped += len(messages) - len(rows)
            if not len(rows):
                continue
            part = messages if len(rows) == len(messages) else messages.take(rows)
            routed = await loop.run_in_executor(self._working, router.route, part)
            deliveries.append((group, routed))
            for r in routed.refused:
                entry = refused.setdefault(int(rows[r.row]), (r.reason, r.message, []))
                entry[2].extend(group.metrics)
            self.counts.events += routed.accepted
        letters = [
            _letter(batch[row], messages.position, row, *refusal) for row, refusal in sorted(refused.items())
        ]
        await persist(
            "publishing dead letters",
            lambda: loop.run_in_executor(self._working, self._letters.publish, letters),
        )
        async with asyncio.TaskGroup() as tasks:
            for group, routed in deliveries:
                tasks.create_task(self._leaves.deliver(group, routed))
        self._note_accepted(batch, messages.position)
        if monotonic() - self._acknowledged_at >= ACKNOWLEDGE_SECONDS:
            await loop.run_in_executor(self._working, self._acknowledge)
        for group in groups:
            if self._leaves.due(group):
                await self._tell(group)
        self._count(messages, letters)

    def _look(self, messages: Messages) -> tuple[dict[int, Offset], set[int]]:
        """The first offset of each partition in the batch, and which do not simply go on from where they
        were.
        """
        firsts: dict[int, Offset] = {}
        fresh: set[int] = set()
        position = messages.position
        for partition in np.unique(position.partition).tolist():
            rows = np.flatnonzero(position.partition == partition)
            first = _offset(position, int(rows[0]))
            seen = self._seen.get(partition)
            if seen is None or not (seen.is_next(first) or first <= seen):
                fresh.add(partition)
            firsts[partition] = first
            new, self._seen[partition] = advancing(position.take(rows), seen)
            if found := gap(position.take(rows), new):
                self._gaps.check(partition, *found)
        return firsts, fresh

    async def _catch_up(
        self, group: Group, router: Router, firsts: dict[int, Offset], fresh: set[int]
    ) -> None:
        """Take up where the leaves are in partitions that are new here or that another process has fed."""
        starting = {p: at for p, at in firsts.items() if p in fresh or p not in router.clock.reached}
        if not starting:
            return
        journal, others = await self._leaves.progress(group)
        for partition, first in starting.items():
            found = resume(first, journal.get(partition), [o[partition] for o in others if partition in o])
            if found is not None or group is self._catalog.topics[self.topic][0]:
                self._gaps.check(partition, None if found is None else found.offset, first)
            router.clock.start(partition, found)
            if found is not None:
                self._skip[group.signature, partition] = found.offset
                log.info(
                    "going on where the leaves are",
                    topic=self.topic,
                    partition=partition,
                    position=f"{found.offset.major}:{found.offset.minor // ENTRY_STEP}",
                )

    def _unskipped(self, group: Group, messages: Messages) -> Int64:
        """The messages that the leaves of ``group`` have not had; a reconnection brings some again."""
        keep = np.zeros(len(messages), np.bool_)
        for partition in np.unique(messages.position.partition).tolist():
            rows = np.flatnonzero(messages.position.partition == partition)
            key = (group.signature, partition)
            new, last = advancing(messages.position.take(rows), self._skip.get(key))
            keep[rows[new]] = True
            self._skip[key] = last
        return np.flatnonzero(keep)

    def _router(self, group: Group) -> Router:
        router = self._routers.get(group.signature)
        if router is None:
            router = self._routers[group.signature] = Router(group, self._partitions)
        elif router.group is not group:
            router.update(group)
        return router

    async def _settle(self, groups: Sequence[Group]) -> None:
        for group in groups:
            if self._leaves.owes(group):
                await self._tell(group)

    async def _tell(self, group: Group) -> None:
        router = self._routers.get(group.signature)
        if router is not None:
            await self._leaves.settle(group, router.clock.progress())

    def _note_accepted(self, batch: Sequence[pulsar.Message], position: Positions) -> None:
        for partition in np.unique(position.partition).tolist():
            last = int(np.flatnonzero(position.partition == partition)[-1])
            at, known = _offset(position, last), self._accepted.get(partition)
            if known is None or at > known[0]:
                self._accepted[partition] = at, batch[last].message_id()

    def _acknowledge(self) -> None:
        for _, message in self._accepted.values():
            self._consumer.acknowledge_cumulative(message)
        self._accepted.clear()
        self._acknowledged_at = monotonic()

    def _count(self, messages: Messages, letters: Sequence[DeadLetter]) -> None:
        counts = self.counts
        counts.messages += len(messages)
        counts.batches += 1
        counts.gaps = self._gaps.passed
        counts.lag = max(0.0, time() - int(messages.published.max()) / 1e6)
        for letter in letters:
            if letter.reason not in counts.reasons:
                log.warning(
                    "an event was refused; it and others like it are in the dead-letter topic",
                    reason=letter.reason,
                    message=letter.message,
                    topic=self.topic,
                    position=f"{letter.partition}:{letter.position}",
                    dead_letters=dead_letter_topic(self.topic),
                )
            counts.reasons[letter.reason] = counts.reasons.get(letter.reason, 0) + 1
        counts.late = counts.reasons.get("late", 0)
        counts.refused = sum(counts.reasons.values()) - counts.late

    def _close(self) -> None:
        with suppress(pulsar.PulsarException):
            self._acknowledge()  # what was accepted; if the broker is gone, it comes again and is skipped
        # Closing sends the acknowledgements that the client library still holds back.
        for close in (self._consumer.close, self._letters.close, self._client.close):
            with suppress(pulsar.PulsarException):
                close()


def read(batch: Sequence[pulsar.Message]) -> Messages:
    """Take payloads, positions and publish times out of the client library's messages."""
    count = len(batch)
    partition = np.empty(count, np.int32)
    major, minor, published = (np.empty(count, np.int64) for _ in range(3))
    payloads: list[bytes] = []
    for row, message in enumerate(batch):
        payloads.append(message.data())
        at = message.message_id()
        partition[row] = max(at.partition(), 0)  # -1: the topic is not partitioned
        major[row] = at.ledger_id()
        minor[row] = minor_of(at.entry_id(), at.batch_index())
        published[row] = message.publish_timestamp()
    return Messages(payloads, Positions(partition, major, minor), published * 1000)


def _offset(position: Positions, row: int) -> Offset:
    return Offset(int(position.major[row]), int(position.minor[row]))


def _letter(
    message: pulsar.Message, position: Positions, row: int, reason: str, text: str, metrics: list[str]
) -> DeadLetter:
    entry, index = divmod(int(position.minor[row]), ENTRY_STEP)
    return DeadLetter(
        message.data(),
        message.partition_key(),
        reason,
        text,
        int(position.partition[row]),
        f"{position.major[row]}:{entry}:{index}",
        ", ".join(sorted(set(metrics))),
    )
