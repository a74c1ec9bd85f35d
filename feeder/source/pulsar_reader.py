"""A source that is read by Readers of the embedded broker, from where the leaves are.

Subscriptions of the embedded broker do not survive the death of a consumer: for a while, and at times for
good, it delivers to one that nobody reads, or takes no new one. Its Readers do, and one feeder at a time is
all it serves (``locks``). So the messages after what the leaves have are read, and nothing needs to be
acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Event

import pulsar

from feeder.positions import Offset

from .begin import Begin
from .pulsar_message import PulsarMessage
from .pulsar_past import BATCH_BYTES, Past
from .pulsar_topic import GATHER_MS, LISTEN_MS, PulsarTopic


class PulsarReader(PulsarTopic):
    """A topic that one feeder has for itself."""

    shared = False

    def __init__(self, client: pulsar.Client, url: str, topic: str, names: Sequence[str]) -> None:
        super().__init__(client, url, topic, names)
        self.apart = len(names) == 1
        self._reading: Past | None = None
        self._many = 0

    def _begin(self, after: Mapping[int, Offset | None], begin: Begin | None, many: int) -> None:
        self._reading, self._many = self._past(after), many

    def _receive(self, wanted: Event) -> list[PulsarMessage]:
        past = self._reading
        if past is None:
            raise RuntimeError("open the source before receiving")
        found = past.read(self._many, wait_ms=LISTEN_MS)
        size = past.size
        while found and not wanted.is_set() and len(found) < self._many and size < BATCH_BYTES:
            wanted.wait(GATHER_MS / 1000)
            found += past.read(self._many - len(found))
            size += past.size
        return found

    def _acknowledge(self, messages: Iterable[PulsarMessage]) -> None:
        """Nothing to do: where to go on is what the leaves have."""

    def _is_connected(self) -> bool:
        return self._reading is not None and self._reading.connected

    def _end(self) -> None:
        if self._reading is not None:
            self._reading.close()
