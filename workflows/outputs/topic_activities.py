"""The activity of ``TopicOutput``: it is told a batch, and again the same until it has succeeded."""

from __future__ import annotations

import asyncio
from itertools import chain

from temporalio import activity

from timeline_workers.plan.outputs import OutputSpec
from timeline_workers.wire.changelog import ToPublish, Writer, messages, unpack_news
from workflows.durable.activities import heartbeats

from .topic_output import PUBLISH


@activity.defn(name=PUBLISH)
async def publish_news(spec: OutputSpec, first: int, news: list[bytes]) -> int:
    """Publish ``news``, packed, with the revisions from ``first`` on; returns how many messages that were."""
    async with heartbeats():
        return await asyncio.to_thread(_publish, spec, first, news)


def _publish(spec: OutputSpec, first: int, news: list[bytes]) -> int:
    # Not with the module: it needs the broker's client library, which other workers do without.
    from timeline_workers.servers.pulsar import changelog_topic

    return changelog_topic.publish(spec.topic, spec.worker_id, rendered(spec, first, news))


def rendered(spec: OutputSpec, first: int, news: list[bytes]) -> chain[ToPublish]:
    """The messages that say ``news``, with the revisions from ``first`` on."""
    writer = Writer(spec.metric, spec.partition, spec.partitions, spec.unit, spec.kind == "numeric")
    parts = []
    for one in map(unpack_news, news):
        parts.append(messages(one, writer, first))
        first += one.count()
    return chain.from_iterable(parts)


OUTPUT_ACTIVITIES = (publish_news,)
