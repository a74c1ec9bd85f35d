"""A topic of Pulsar: what both kinds of source have in common, which receive in different ways.

Blocking calls to the client library get threads of their own: receiving must not wait for publishing, nor
either for the reading of the past.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from threading import Event
from typing import Any

import pulsar

from feeder.positions import Offset
from feeder.threads import OneThread
from timeline_workers.events.incarnation import Mark, Message, Shown
from timeline_workers.metric.topics import dead_letter_topic
from timeline_workers.servers.pulsar.places import first_messages, shown_at, shown_in_whole

from .begin import Begin
from .connection import Connection
from .partitioned_source import DeadLetter, PastLock, PastReader, Run
from .pulsar_dead_letters import DeadLetters
from .pulsar_message import PulsarMessage, translated
from .pulsar_past import Past, knows_partitions

# For so long a first message is waited for, before there is time for other things.
LISTEN_MS = 100
# While a batch gathers it is looked this often whether more has come.
GATHER_MS = 2
# How often the broker is asked again for a message that it says it has.
_PATIENCE = 50


class PulsarTopic(ABC):
    """What is the same for every topic (see ``PartitionedSource``). ``client`` is its own, and closed with
    it; ``names``: those of its partitions.
    """

    shared: bool
    apart: bool

    def __init__(self, client: pulsar.Client, url: str, topic: str, names: Sequence[str]) -> None:
        self._client, self._url, self.topic, self.names = client, url, topic, names
        self.incarnations: dict[int, int] = {}
        self._receiving, self._working, self._past_thread = map(OneThread, ("receive", "work", "past"))
        self._letters = DeadLetters(client, url, topic)
        self._connection: Connection | None = None

    # How messages are received. All of these block, and raise pulsar.PulsarException.

    @abstractmethod
    def _begin(self, after: Mapping[int, Offset | None], begin: Begin | None, many: int) -> None: ...

    @abstractmethod
    def _receive(self, wanted: Event) -> list[PulsarMessage]: ...

    @abstractmethod
    def _acknowledge(self, messages: Iterable[PulsarMessage]) -> None: ...

    @abstractmethod
    def _is_connected(self) -> bool: ...

    @abstractmethod
    def _end(self) -> None: ...

    # The source.

    async def open(self, after: Mapping[int, Offset | None], begin: Begin | None, many: int) -> None:
        """See ``PartitionedSource``."""
        await self._on(self._working, self._begin, after, begin, many)
        self._connection = Connection(self._is_connected)

    async def receive(self, wanted: Event) -> Sequence[PulsarMessage]:
        """See ``PartitionedSource``."""
        found: list[PulsarMessage] = await self._on(self._receiving, self._receive, wanted)
        return found

    async def acknowledge(self, messages: Iterable[Any]) -> None:
        """See ``PartitionedSource``; ``messages`` are of this source."""
        await self._on(self._working, self._acknowledge, list(messages))

    @property
    def lost_for(self) -> float:
        """See ``PartitionedSource``."""
        return 0.0 if self._connection is None else self._connection.lost_for

    def was_lost(self) -> bool:
        """See ``PartitionedSource``."""
        return self._connection is not None and self._connection.was_lost()

    async def names_now(self) -> Sequence[str]:
        """See ``PartitionedSource``."""
        names: list[str] = await self._in_past(self._client.get_topic_partitions, self.topic)
        return names

    async def read_from(self, after: Mapping[int, Offset | None]) -> PastReader:
        """See ``PartitionedSource``."""
        return _Reader(self._in_past, await self._in_past(self._past, after))

    async def first_after(self, partition: int, after: Offset | None) -> Offset | None:
        """See ``PartitionedSource``."""
        found: Offset | None = await self._in_past(self._first_after, partition, after)
        return found

    async def last_until(self, partition: int, published: int) -> Offset | None:
        """See ``PartitionedSource``."""
        found: Offset | None = await self._in_past(self._last_until, partition, published)
        return found

    async def shown(self, marks: Mapping[int, Mark]) -> dict[int, Shown]:
        """See ``PartitionedSource``."""
        found: dict[int, Shown] = await self._in_past(self._shown, marks)
        return found

    async def beginnings(self, partitions: Collection[int]) -> dict[int, Message]:
        """See ``PartitionedSource``: of those that begin early."""
        found: dict[int, Message] = await self._in_past(first_messages, self._client, self.topic, partitions)
        return found

    async def read_letters(self) -> PastReader:
        """See ``PartitionedSource``."""
        return _Reader(self._in_past, await self._in_past(self._past_of_letters))

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """See ``PartitionedSource``."""
        await self._on(self._working, self._letters.publish, letters)

    def past_lock(self, signature: str) -> PastLock | None:
        """See ``PartitionedSource``."""
        return None

    async def close(self) -> None:
        """See ``PartitionedSource``."""
        if self._connection is not None:
            self._connection.close()
        await self._on(self._working, self._close)
        for thread in (self._receiving, self._working, self._past_thread):
            thread.close()

    async def _in_past(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await self._on(self._past_thread, call, *arguments)

    async def _on(self, thread: OneThread, call: Callable[..., Any], *arguments: Any) -> Any:
        with translated():
            return await thread.run(call, *arguments)

    # What blocks.

    def _close(self) -> None:
        for close in (self._end, self._letters.close, self._client.close):
            with suppress(pulsar.PulsarException):
                close()

    def _past_of_letters(self) -> Past:
        name = dead_letter_topic(self.topic)
        partitions = len(self._client.get_topic_partitions(name))
        return Past(self._client, self._url, name, dict.fromkeys(range(partitions)), losses=self._losses)

    def _past(self, after: Mapping[int, Offset | None]) -> Past:
        return Past(self._client, self._url, self.topic, after, self.incarnations, self._losses)

    def _losses(self) -> int:
        return 0 if self._connection is None else self._connection.losses

    def _shown(self, marks: Mapping[int, Mark]) -> dict[int, Shown]:
        names = self._client.get_topic_partitions(self.topic)
        there = {p: mark for p, mark in marks.items() if p < len(names)}
        ends = knows_partitions(self._client, names)
        if not ends and len(names) > 1:
            return shown_in_whole(self._client, self.topic, there)
        return {
            p: shown_at(self._client, names[p] if ends else self.topic, p, mark, tells_end=ends)
            for p, mark in there.items()
        }

    def _last_until(self, partition: int, published: int) -> Offset | None:
        last: Offset | None = None
        with closing(self._past({partition: None})) as past:
            while True:
                stored = past.read(1_000, None, wait_ms=200)
                for message in stored:
                    if message.published <= published:
                        last = message.place
                if not stored and (past.at_end(partition) or past.is_current):
                    return last

    def _first_after(self, partition: int, after: Offset | None) -> Offset | None:
        with closing(self._past({partition: after})) as past:
            for _ in range(_PATIENCE):
                for message in past.read(1, None, wait_ms=200):
                    return message.place
                if past.at_end(partition) or past.is_current:
                    return None
        raise pulsar.Timeout("the broker does not deliver what it holds")


class _Reader:
    """A ``PastReader`` that has its blocking calls made by ``run``."""

    def __init__(self, run: Run, past: Past) -> None:
        self._run, self._past = run, past
        self.partitions, self.knows_ends = past.partitions, past.knows_ends

    async def read(
        self, many: int, limits: Mapping[int, Offset] | None = None, wait_ms: int = 0
    ) -> Sequence[PulsarMessage]:
        """See ``PastReader``."""
        found: list[PulsarMessage] = await self._run(self._past.read, many, limits, wait_ms)
        return found

    async def at_end(self, partition: int) -> bool:
        """See ``PastReader``."""
        at_end: bool = await self._run(self._past.at_end, partition)
        return at_end

    async def close(self) -> None:
        """See ``PastReader``."""
        await self._run(self._past.close)
