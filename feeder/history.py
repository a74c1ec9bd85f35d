"""What the broker holds of one topic, asked while the topic is being fed.

It is asked on a thread of its own, so that neither receiving nor publishing waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pulsar

from .past import Past
from .progress import Offset
from .replay import LateLetters

# How often the broker is asked again for a message that it says it has.
_PATIENCE = 50


class History:
    """Reads one topic by Readers, which nobody remembers. ``close`` it when nothing reads any more."""

    def __init__(self, client: pulsar.Client, url: str, topic: str) -> None:
        self._client, self._url, self._topic = client, url, topic
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="past")

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
        past: Past = await self.run(lambda: Past(self._client, self._url, self._topic, after))
        return past

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

    def _first_after(self, partition: int, after: Offset | None) -> Offset | None:
        with closing(Past(self._client, self._url, self._topic, {partition: after})) as past:
            for _ in range(_PATIENCE):
                for _, place, _ in past.read(1, None, wait_ms=200):
                    return place
                if past.at_end(partition) or past.is_current:
                    return None
        raise pulsar.Timeout("the broker does not deliver what it holds")
