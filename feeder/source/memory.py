"""A source in memory: a topic that lives as long as the process, read by any number of feeders.

It is the whole of what another kind of source needs: what ``PartitionedSource`` says, in one module. Feeders
of one group share the partitions, each of which has one of them at a time. What they have acknowledged is
remembered; what follows it comes again to whoever gets the partition next.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from feeder.positions import SILENT, Offset, minor_of
from timeline_workers.events.incarnation import Mark, Message, Place, Shown, ledger_of

from .begin import Begin
from .partitioned_source import DeadLetter, PastLock, PastReader, SourceMessage

# For so long a first message is waited for.
LISTEN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class MemoryMessage:
    """A message of a topic in memory (see ``SourceMessage``)."""

    partition: int
    place: Offset
    payload: bytes
    key: str = ""
    published: int = 0
    properties: Mapping[str, str] = field(default_factory=dict)
    ends_entry: bool = True

    @property
    def begin(self) -> Offset:
        """Its place: it takes no more than one entry."""
        return self.place


class MemoryTopic:
    """A topic: a list of messages per partition, and of dead letters. Not safe for use by several threads."""

    def __init__(self, name: str, partitions: int = 1) -> None:
        self.name = name
        self.stored: list[list[MemoryMessage]] = [[] for _ in range(partitions)]
        self.letters: list[MemoryMessage] = []
        self.groups: dict[str, MemoryGroup] = {}
        self.readers_of_the_past: dict[tuple[str, str], MemorySource] = {}
        self._next = [Offset(0, 0)] * partitions

    @property
    def names(self) -> list[str]:
        """The names of the partitions."""
        return [f"{self.name}-{partition}" for partition in range(len(self.stored))]

    def publish(self, partition: int, *payloads: bytes, key: str = "", published: int = 0) -> list[Offset]:
        """Store ``payloads`` as one entry of a partition; returns their places."""
        entry = self._next[partition]
        places = [Offset(entry.major, entry.minor + index) for index in range(len(payloads))]
        for place, payload in zip(places, payloads, strict=True):
            last = place == places[-1]
            message = MemoryMessage(partition, place, payload, key, published, {}, last)
            self.stored[partition].append(message)
        self._next[partition] = Offset(entry.major, entry.minor + minor_of(1, 0))
        return places

    def begin_ledger(self, partition: int) -> None:
        """Have the next entry of a partition be the first of a ledger, as after a restart of a broker."""
        self._next[partition] = Offset(self._next[partition].major + 1, 0)

    def add_partition(self) -> None:
        """Give the topic one partition more."""
        self.stored.append([])
        self._next.append(Offset(0, 0))

    def after(self, partition: int, place: Offset | None) -> list[MemoryMessage]:
        """What is stored in a partition after a place (None: at all)."""
        least = SILENT.offset if place is None else place
        return [message for message in self.stored[partition] if message.place > least]

    def group(self, name: str) -> MemoryGroup:
        """The group of feeders of this name."""
        return self.groups.setdefault(name, MemoryGroup(self))


class MemoryGroup:
    """The feeders that share a topic, and what they have acknowledged."""

    def __init__(self, topic: MemoryTopic) -> None:
        self._topic = topic
        self._members: list[MemorySource] = []
        self.acknowledged: dict[int, Offset] = {}

    def join(self, member: MemorySource) -> None:
        """Give a feeder its share, which others lose."""
        self._members.append(member)
        self.share_out()

    def leave(self, member: MemorySource) -> None:
        """Give a feeder's share to the others."""
        if member in self._members:
            self._members.remove(member)
            self.share_out()

    def share_out(self) -> None:
        """Divide the partitions among the feeders; whoever keeps one goes on where it was."""
        for number, member in enumerate(self._members):
            mine = range(number, len(member.names), len(self._members))
            member.sent = {p: member.sent.get(p, self.acknowledged.get(p, SILENT.offset)) for p in mine}


class MemorySource:
    """One feeder's share of a topic in memory (see ``PartitionedSource``), in the group of this name."""

    shared, apart = True, True

    def __init__(self, topic: MemoryTopic, group: str) -> None:
        self._topic, self._name, self._group = topic, group, topic.group(group)
        self.topic, self.names = topic.name, topic.names
        self.incarnations: dict[int, int] = {}
        self.sent: dict[int, Offset] = {}
        self._many = 1

    async def open(self, after: Mapping[int, Offset | None], begin: Begin | None, many: int) -> None:
        """See ``PartitionedSource``; ``begin`` moves the whole group."""
        self._many = many
        if begin is not None:
            acknowledged = self._group.acknowledged
            for partition, messages in enumerate(self._topic.stored):
                left_out = [m.place for m in messages if begin.leaves_out(m.published)]
                acknowledged[partition] = max(left_out, default=SILENT.offset)
        self._group.join(self)

    async def receive(self, wanted: threading.Event) -> Sequence[MemoryMessage]:
        """See ``PartitionedSource``; nothing gathers."""
        found = self._next()
        if not found:
            await asyncio.sleep(LISTEN_SECONDS)
            found = self._next()
        return found

    def _next(self) -> list[MemoryMessage]:
        found: list[MemoryMessage] = []
        for partition, sent in self.sent.items():
            more = self._topic.after(partition, sent)[: self._many - len(found)]
            if more:
                self.sent[partition] = more[-1].place
                found += more
        return found

    async def acknowledge(self, messages: Iterable[SourceMessage]) -> None:
        """See ``PartitionedSource``."""
        done = self._group.acknowledged
        for message in messages:
            partition = message.partition
            if partition in self.sent:
                done[partition] = max(done.get(partition, SILENT.offset), message.place)

    @property
    def lost_for(self) -> float:
        """Always 0: there is no connection."""
        return 0.0

    def was_lost(self) -> bool:
        """Never."""
        return False

    async def names_now(self) -> Sequence[str]:
        """See ``PartitionedSource``."""
        return self._topic.names

    async def read_from(self, after: Mapping[int, Offset | None]) -> PastReader:
        """See ``PartitionedSource``."""
        return MemoryReader(self._topic.after, after)

    async def first_after(self, partition: int, after: Offset | None) -> Offset | None:
        """See ``PartitionedSource``."""
        return next((message.place for message in self._topic.after(partition, after)), None)

    async def last_until(self, partition: int, published: int) -> Offset | None:
        """See ``PartitionedSource``."""
        stored = self._topic.stored[partition]
        return max((message.place for message in stored if message.published <= published), default=None)

    async def shown(self, marks: Mapping[int, Mark]) -> dict[int, Shown]:
        """See ``PartitionedSource``."""
        found = {}
        for partition, mark in marks.items():
            if partition < len(self._topic.stored):
                stored = [_described(message) for message in self._topic.stored[partition]]
                at = next((one for one in stored if one.place >= mark.witness.place), None)
                found[partition] = Shown(next(iter(stored), None), at)
        return found

    async def beginnings(self, partitions: Collection[int]) -> dict[int, Message]:
        """Of no interest: each partition can be read apart."""
        return {}

    async def read_letters(self) -> PastReader:
        """See ``PartitionedSource``."""
        letters = self._topic.letters

        def after(_: int, place: Offset | None) -> list[MemoryMessage]:
            return letters[0 if place is None or place < (0, 0) else place.minor + 1 :]

        return MemoryReader(after, {0: None})

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """See ``PartitionedSource``."""
        for letter in letters:
            about = {
                "reason": letter.reason,
                "message": letter.message,
                "topic": self.topic,
                "partition": str(letter.partition),
                "position": letter.position,
                "metrics": letter.metrics,
            }
            place = Offset(0, len(self._topic.letters))
            self._topic.letters.append(MemoryMessage(0, place, letter.payload, letter.key, 0, about))

    def past_lock(self, signature: str) -> PastLock | None:
        """See ``PartitionedSource``."""
        return MemoryPastLock(self, self._topic, (self._name, signature))

    async def close(self) -> None:
        """See ``PartitionedSource``."""
        self.leave()

    def leave(self) -> None:
        """Leave the group and every lock, as a feeder does that is killed."""
        self._group.leave(self)
        locks = self._topic.readers_of_the_past
        for held in [name for name, holder in locks.items() if holder is self]:
            del locks[held]


class MemoryReader:
    """Reads on from given places (see ``PastReader``). ``stored``: what is after a place of a partition."""

    knows_ends = True

    def __init__(
        self,
        stored: Callable[[int, Offset | None], list[MemoryMessage]],
        after: Mapping[int, Offset | None],
    ) -> None:
        self._stored, self._at = stored, dict(after)
        self._limits: Mapping[int, Offset] = {}
        self.partitions = frozenset(after)

    async def read(
        self, many: int, limits: Mapping[int, Offset] | None = None, wait_ms: int = 0
    ) -> Sequence[MemoryMessage]:
        """See ``PastReader``; waits for nothing that is not there."""
        self._limits = limits or {}
        found: list[MemoryMessage] = []
        for partition in sorted(self.partitions):
            more = list(self._within(partition))[: many - len(found)]
            if more:
                self._at[partition] = more[-1].place
                found += more
        if not found:
            await asyncio.sleep(wait_ms / 1000)
        return found

    def _within(self, partition: int) -> Iterator[MemoryMessage]:
        limit = self._limits.get(partition)
        for message in self._stored(partition, self._at[partition]):
            if limit is None or message.place <= limit:
                yield message

    async def at_end(self, partition: int) -> bool:
        """See ``PastReader``."""
        return next(self._within(partition), None) is None

    async def close(self) -> None:
        """Nothing to do."""


class MemoryPastLock:
    """The turn at reading the past (see ``PastLock``), kept in the topic."""

    def __init__(self, holder: MemorySource, topic: MemoryTopic, name: tuple[str, str]) -> None:
        self._holder, self._held, self._name = holder, topic.readers_of_the_past, name
        self._without = False

    async def take(self) -> bool:
        """See ``PastLock``."""
        return self._without or self._held.setdefault(self._name, self._holder) is self._holder

    def do_without(self) -> None:
        """See ``PastLock``."""
        self._without = True

    async def give_back(self) -> None:
        """See ``PastLock``."""
        self._without = False
        if self._held.get(self._name) is self._holder:
            del self._held[self._name]


def _described(message: MemoryMessage) -> Message:
    return Message(Place(ledger_of(message.place.major), message.place.minor), message.published)
