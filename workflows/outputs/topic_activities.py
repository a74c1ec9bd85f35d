"""The activity of ``TopicOutput``: it is told a batch, and again the same until it has succeeded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import lru_cache

from temporalio import activity

from timeline_workers.answers.one_key import without_events
from timeline_workers.language.parser import parse
from timeline_workers.plan.output_workers import OutputSpec
from timeline_workers.wire.changelog_messages import ToPublish, Writer, messages
from timeline_workers.wire.news import unpack_news
from workflows.durable.activities import heartbeats

from .batches import Batch, unpack_batch
from .topic_output import PUBLISH


@activity.defn(name=PUBLISH)
async def publish_news(spec: OutputSpec, batch: bytes) -> int:
    """Publish a batch, packed; returns how many messages that were."""
    async with heartbeats():
        return await asyncio.to_thread(_publish, spec, unpack_batch(batch))


def _publish(spec: OutputSpec, batch: Batch) -> int:
    # Not with the module: it needs the broker's client library, which other workers do without.
    from timeline_workers.servers.pulsar import changelog_topic

    return changelog_topic.publish(spec.topic, spec.worker_id, rendered(spec, batch))


def rendered(spec: OutputSpec, batch: Batch) -> Iterator[ToPublish]:
    """The messages that say what is in ``batch``."""
    first = batch.first
    for news in map(unpack_news, batch.news):
        yield from messages(news, writer_of(spec, news.before), first)
        first += news.count()


@lru_cache(maxsize=256)
def writer_of(spec: OutputSpec, before: str) -> Writer:
    """What the messages of the output ``spec`` say of who writes them. ``before``: that of the news, since
    a metric over an output of another gives without any event what follows from what that one does.
    """
    numeric = spec.kind == "numeric"
    says_nothing = not (numeric and spec.read_by)
    return Writer(
        spec.metric,
        spec.partition,
        spec.partitions,
        spec.unit,
        numeric,
        spec.function,
        spec.functions,
        spec.read_by,
        None if says_nothing else without_events(parse(spec.expression), spec.function, before),
    )


OUTPUT_ACTIVITIES = (publish_news,)
