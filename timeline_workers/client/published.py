"""Published messages of a metric's output, as they are in its topic. Reading them blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from timeline_workers.errors import QuestionError
from timeline_workers.metric.model import Metric
from timeline_workers.servers.pulsar.dead_letter_topic import messages_of
from timeline_workers.servers.pulsar.pulsar_client import connect, pulsar_url


def published(metric: Metric) -> Iterator[str]:
    """Every message that the topic of the output of ``metric`` has now, JSON, in the order of its partitions.

    Raises QuestionError for a metric without an output, ConnectionFailedError and TopicError.
    """
    if metric.output is None:
        raise QuestionError(
            f"metric {metric.name!r} has no output; write 'output: {{topic: NAME}}' in its file and apply it"
        )
    url = pulsar_url()
    with closing(connect(url, quiet=True)) as client:
        for message in messages_of(client, url, metric.output.topic):
            yield message.data().decode("utf-8", "replace")
