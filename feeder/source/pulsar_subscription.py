"""A source that is a Failover subscription of Pulsar.

It gives each partition one reader at a time, over several feeders, and remembers what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Event
from typing import Any

import pulsar

from feeder.positions import Offset
from timeline_workers.servers.pulsar.pulsar_client import explained

from .begin import Begin
from .partitioned_source import PastLock
from .pulsar_message import PulsarMessage, place_of
from .pulsar_past import BATCH_BYTES
from .pulsar_past_lock import PulsarPastLock
from .pulsar_topic import GATHER_MS, LISTEN_MS, PulsarTopic


class PulsarSubscription(PulsarTopic):
    """The subscription of this name, shared with the other feeders that use it."""

    shared, apart = True, True

    def __init__(
        self, client: pulsar.Client, url: str, topic: str, names: Sequence[str], subscription: str
    ) -> None:
        super().__init__(client, url, topic, names)
        self._subscription = subscription
        self._consumer: Any = None
        self._many = 0

    def _begin(self, after: Mapping[int, Offset | None], begin: Begin | None, many: int) -> None:
        self._many = many
        first = pulsar.InitialPosition.Latest if begin and begin.latest else pulsar.InitialPosition.Earliest
        with explained(self._url, self.topic):
            consumer = self._consumer = self._client.subscribe(
                self.topic,
                self._subscription,
                consumer_type=pulsar.ConsumerType.Failover,
                initial_position=first,
                receiver_queue_size=2 * many,
                batch_receive_policy=pulsar.ConsumerBatchReceivePolicy(many, BATCH_BYTES, GATHER_MS),
            )
            if begin is None:
                return
            if begin.published is None:
                consumer.seek(pulsar.MessageId.earliest)
            elif begin.latest:
                consumer.seek(pulsar.MessageId.latest)
            else:
                consumer.seek(begin.published // 1000)

    def _receive(self, wanted: Event) -> list[PulsarMessage]:
        consumer = self._consumer
        try:
            # A batch is delivered when it is full or its time is over: the first message need not wait for
            # that.
            found = [self._message(consumer.receive(LISTEN_MS))]
        except pulsar.Timeout:
            return []
        size = 0
        while True:
            more = [self._message(message) for message in consumer.batch_receive()]
            found += more
            size += sum(len(message.payload) for message in more)
            if wanted.is_set() or len(found) >= self._many or size >= BATCH_BYTES:
                return found
            wanted.wait(GATHER_MS / 1000)

    def _message(self, message: pulsar.Message) -> PulsarMessage:
        at = message.message_id()
        partition = max(at.partition(), 0)  # -1: the topic is not partitioned
        return PulsarMessage(partition, place_of(at, self.incarnations.get(partition, 0)), message)

    def _acknowledge(self, messages: Iterable[PulsarMessage]) -> None:
        for message in messages:
            self._consumer.acknowledge_cumulative(message.message.message_id())

    def _is_connected(self) -> bool:
        return self._consumer is not None and bool(self._consumer.is_connected())

    def _end(self) -> None:
        # Closing sends the acknowledgements that the client library still holds back.
        if self._consumer is not None:
            with suppress(pulsar.PulsarException):
                self._consumer.close()

    def past_lock(self, signature: str) -> PastLock | None:
        """See ``PartitionedSource``: the broker keeps it."""
        return PulsarPastLock(self._client, self._in_past, self.topic, self._subscription, signature)
