"""Opening a topic of Pulsar as a source: a subscription, or on the embedded broker Readers."""

from __future__ import annotations

import pulsar

from timeline_workers.servers.pulsar.pulsar_client import check_broker, connect

from .partitioned_source import PartitionedSource
from .pulsar_message import translated
from .pulsar_past import knows_partitions
from .pulsar_reader import PulsarReader
from .pulsar_subscription import PulsarSubscription


def connect_source(url: str, topic: str, subscription: str) -> PartitionedSource:
    """Connect to the broker at ``url``, and return the source that ``topic`` is there; blocks.

    Raises ConnectionFailedError, TopicError with advice, and SourceError.
    """
    with translated():
        client: pulsar.Client = connect(url)
        try:
            check_broker(client, url, topic)
            names = client.get_topic_partitions(topic)
            if knows_partitions(client, names):
                return PulsarSubscription(client, url, topic, names, subscription)
            return PulsarReader(client, url, topic, names)
        except BaseException:
            client.close()
            raise
