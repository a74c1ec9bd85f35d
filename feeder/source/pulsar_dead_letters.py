"""The dead-letter topic ``<topic>-dead-letter``: every event that is not applied, with the reason.

Each message holds the original payload under the original key, with the properties ``reason`` (a code),
``message``, ``topic``, ``partition``, ``position`` (``ledger:entry:index``, see ``shown_place``) and
``metrics``. Delivery is at least once: after a crash the same event may be there twice, with the same
partition and position. A subscription that nobody reads holds the topic's messages, which a broker with
Pulsar's default retention would delete otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pulsar

from timeline_workers.metric.topics import dead_letter_topic
from timeline_workers.servers.pulsar.pulsar_client import explained, keep

from .partitioned_source import DeadLetter, DeadLetterError

MESSAGE_LENGTH = 1000
# A payload that the broker took, compressed or barely within its limit, can be too big to store once more
# with properties. Larger ones than this go in chunks, which batches of small ones cannot.
CHUNKED_BYTES = 1 << 20


class DeadLetters:
    """Publishes the dead letters of one topic. The dead-letter topic comes into being with the first of
    them.
    """

    def __init__(self, client: pulsar.Client, url: str, topic: str) -> None:
        self._client, self._url, self._topic = client, url, topic
        self._producers: dict[bool, pulsar.Producer] = {}
        self.published = 0

    def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Return when the broker has stored all of ``letters``; blocks. Raises pulsar.PulsarException."""
        if not letters:
            return
        outcomes = _Outcomes(len(letters))
        for letter in letters:
            self._producer(len(letter.payload) > CHUNKED_BYTES).send_async(
                letter.payload,
                outcomes.take,
                partition_key=letter.key or None,
                properties={
                    "reason": letter.reason,
                    "message": letter.message[:MESSAGE_LENGTH],
                    "topic": self._topic,
                    "partition": str(letter.partition),
                    "position": letter.position,
                    "metrics": letter.metrics,
                },
            )
        for producer in self._producers.values():
            producer.flush()
        outcomes.wait()
        self.published += len(letters)

    def _producer(self, chunked: bool) -> pulsar.Producer:
        if chunked not in self._producers:
            name = dead_letter_topic(self._topic)
            keep(self._client, self._url, name)
            with explained(self._url, name):
                self._producers[chunked] = self._client.create_producer(
                    name,
                    batching_enabled=not chunked,
                    chunking_enabled=chunked,
                    compression_type=pulsar.CompressionType.LZ4,
                    block_if_queue_full=True,
                    message_routing_mode=pulsar.PartitionsRoutingMode.RoundRobinDistribution,
                )
        return self._producers[chunked]

    def close(self) -> None:
        """Close the producers."""
        for producer in self._producers.values():
            producer.close()
        self._producers.clear()


class _Outcomes:
    """Gathers the outcomes of sends, which arrive on a thread of the client library."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._failed: pulsar.Result | None = None
        self._changed = threading.Condition()

    def take(self, result: pulsar.Result, _: object) -> None:
        with self._changed:
            self._missing -= 1
            if result != pulsar.Result.Ok:
                self._failed = result
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._missing == 0)
        if self._failed is not None:
            raise DeadLetterError(f"the broker did not store a dead letter: {self._failed}")
