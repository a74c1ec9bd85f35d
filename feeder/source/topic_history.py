"""The messages that the broker holds of one topic, asked for while the topic is being fed.

It is asked on a thread of its own, so that neither receiving nor publishing waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pulsar

from feeder.positions import Offset
from feeder.recovery.replay import LateLetters
from timeline_workers.events.incarnation import Mark, Message, Shown
from timeline_workers.servers.pulsar.places import first_messages, shown_at, shown_in_whole

from .past import Past, knows_partitions

# How often the broker is asked again for a message that it says it has.
_PATIENCE = 50


class History:
    """Reads one topic by Readers, which nobody remembers. ``close`` it when nothing reads any more.

    ``incarnations``: those of the partitions, which places are of; 0 for those that are not there.
    """

    def __init__(self, client: pulsar.Client, url: str, topic: str) -> None:
        self._client, self._url, self._topic = client, url, topic
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="past")
        self.incarnations: dict[int, int] = {}

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Run a blocking call on the thread that reads."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    async def first_after(self, partition: int, after: Offset | None) -> Offset | None:
        """The place of the first message that is stored in ``partition`` after a place (None: at all); None
        when there is none.

        Raises pulsar.Timeout when the broker has some and does not deliver it.
        """
        found: Offset | None = await self.run(self._first_after, partition, after)
        return found

    async def read_from(self, after: Mapping[int, Offset | None]) -> Past:
        """Begin to read after these places, None for the beginning. Whoever asked closes it."""
        past: Past = await self.run(self._past, after)
        return past

    async def shown(self, marks: Mapping[int, Mark]) -> dict[int, Shown]:
        """What the partitions of these marks show around them (see ``incarnation``).

        Raises pulsar.Timeout when the broker does not deliver what it holds.
        """
        found: dict[int, Shown] = await self.run(self._shown, marks)
        return found

    async def beginnings(self, partitions: Collection[int]) -> dict[int, Message]:
        """The first messages of these partitions on the embedded broker, of those that begin early."""
        found: dict[int, Message] = await self.run(first_messages, self._client, self._topic, partitions)
        return found

    async def last_until(self, partition: int, published: int) -> Offset | None:
        """The place of the last message in ``partition`` that was published then (microseconds) or before."""
        found: Offset | None = await self.run(self._last_until, partition, published)
        return found

    async def late_letters(self, metrics: Sequence[str]) -> LateLetters:
        """The late events that ``metrics`` have refused. Whoever asked closes them."""
        letters: LateLetters = await self.run(
            lambda: LateLetters(self._client, self._url, self._topic, metrics)
        )
        return letters

    async def partitions(self) -> list[str]:
        """The names of the topic's partitions, as of now."""
        names: list[str] = await self.run(self._client.get_topic_partitions, self._topic)
        return names

    def close(self) -> None:
        """Let the thread end; does not wait for it."""
        self._thread.shutdown(wait=False)

    def _past(self, after: Mapping[int, Offset | None]) -> Past:
        return Past(self._client, self._url, self._topic, after, self.incarnations)

    def _shown(self, marks: Mapping[int, Mark]) -> dict[int, Shown]:
        names = self._client.get_topic_partitions(self._topic)
        there = {p: mark for p, mark in marks.items() if p < len(names)}
        ends = knows_partitions(self._client, names)
        if not ends and len(names) > 1:
            return shown_in_whole(self._client, self._topic, there)
        return {
            p: shown_at(self._client, names[p] if ends else self._topic, p, mark, tells_end=ends)
            for p, mark in there.items()
        }

    def _last_until(self, partition: int, published: int) -> Offset | None:
        last: Offset | None = None
        with closing(self._past({partition: None})) as past:
            while True:
                stored = past.read(1_000, None, wait_ms=200)
                for _, place, message in stored:
                    if message.publish_timestamp() * 1000 <= published:
                        last = place
                if not stored and (past.at_end(partition) or past.is_current):
                    return last

    def _first_after(self, partition: int, after: Offset | None) -> Offset | None:
        with closing(self._past({partition: after})) as past:
            for _ in range(_PATIENCE):
                for _, place, _ in past.read(1, None, wait_ms=200):
                    return place
                if past.at_end(partition) or past.is_current:
                    return None
        raise pulsar.Timeout("the broker does not deliver what it holds")
