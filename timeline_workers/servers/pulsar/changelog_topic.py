"""Writing a changelog topic.

A producer is named after the worker that writes, and each message has its revision as sequence id: a broker
that deduplicates stores it once however often it is sent. For the same reason messages are sent one by one
and not in the client's batches, whose borders differ from attempt to attempt. A producer is open only while
it is written, for a broker lets nobody else have its name meanwhile.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable

import pulsar

from timeline_workers.wire.changelog_messages import ToPublish

from .pulsar_client import connect, explained, keep, pulsar_url

# The property that says which partition of the topic a message is for, where its key does not.
_PARTITION = "timeline-partition"
_lock = threading.Lock()
_clients: dict[str, pulsar.Client] = {}
_kept: set[tuple[str, str]] = set()


class PublishError(OSError):
    """The broker did not store a message; trying again may help."""


def publish(topic: str, producer: str, messages: Iterable[ToPublish]) -> int:
    """Return how many messages there were when the broker has stored all of them, in order for each key;
    blocks. A watermark goes to every partition of the topic.

    Raises PublishError, ConnectionFailedError, TopicError or pulsar.PulsarException.
    """
    url = pulsar_url()
    client = _client(url)
    try:
        return _publish(client, url, topic, producer, messages)
    except pulsar.PulsarException:
        _forget(url, client)
        raise


def _publish(
    client: pulsar.Client, url: str, topic: str, producer: str, messages: Iterable[ToPublish]
) -> int:
    if (url, topic) not in _kept:
        keep(client, url, topic)
        _kept.add((url, topic))
    with explained(url, topic):
        partitions = max(1, len(client.get_topic_partitions(topic)))
        opened = client.create_producer(
            topic,
            producer_name=producer,
            compression_type=pulsar.CompressionType.LZ4,
            block_if_queue_full=True,
            message_routing_mode=pulsar.PartitionsRoutingMode.CustomPartition,
            message_router=_route,
        )
    try:
        outcomes = _Outcomes()
        count = 0
        for count, message in enumerate(messages, 1):  # noqa: B007
            key = message.key
            targets = range(partitions) if key is None else [partition_of(key, partitions)]
            for partition in targets:
                outcomes.expect()
                opened.send_async(
                    message.body,
                    outcomes.take,
                    partition_key=key or None,
                    properties={**message.properties, _PARTITION: str(partition)},
                    sequence_id=message.revision,
                )
        opened.flush()
        outcomes.wait()
        return count
    finally:
        opened.close()


def partition_of(key: str, partitions: int) -> int:
    """The partition of a topic that the messages of ``key`` are in."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % partitions


def _route(message: pulsar.Message, partitions: int) -> int:
    return int(message.properties()[_PARTITION]) % partitions


def _client(url: str) -> pulsar.Client:
    with _lock:
        if url not in _clients:
            _clients[url] = connect(url, quiet=True)
        return _clients[url]


def _forget(url: str, client: pulsar.Client) -> None:
    with _lock:
        if _clients.get(url) is client:
            del _clients[url]


class _Outcomes:
    """Gathers the outcomes of sends, which arrive on a thread of the client library."""

    def __init__(self) -> None:
        self._missing = 0
        self._failed: pulsar.Result | None = None
        self._changed = threading.Condition()

    def expect(self) -> None:
        with self._changed:
            self._missing += 1

    def take(self, result: pulsar.Result, _: object) -> None:
        with self._changed:
            self._missing -= 1
            if result != pulsar.Result.Ok:
                self._failed = self._failed or result
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._missing == 0)
        if self._failed is not None:
            raise PublishError(f"the broker did not store a message: {self._failed}")
