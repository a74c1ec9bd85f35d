"""The activities of ``AlertRule``: handing messages to the sinks of targets, and looking how far a source has
been read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from timeline_workers.alerts.message_text import rendered
from timeline_workers.alerts.sink_messages import TAKE, SinkMessage, pack_sink_batch, sink_batches, sink_id
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.events.incarnation import Mark
from timeline_workers.plan.alert_workers import AlertSpec
from workflows.durable.activities import heartbeats
from workflows.messages import SinkInput, SourceRead

from .batches import Batch, unpack_batch
from .message_batches import messages_of
from .rule_worker import SOURCE_READ, TELL_TARGETS

SINK = "Sink"


@activity.defn(name=TELL_TARGETS)
async def tell_targets(spec: AlertSpec, batch: bytes) -> int:
    """Hand a batch, packed, to the sink of every target; returns how many messages it has."""
    async with heartbeats():
        told = await asyncio.to_thread(unpack_batch, batch)
        messages = await asyncio.to_thread(with_texts, spec, told)
        for target in spec.alert.to:
            for some in sink_batches(spec.worker_id, told.first, messages):
                await _take(activity.client(), target, spec.partition, pack_sink_batch(some))
        return len(messages)


def with_texts(spec: AlertSpec, batch: Batch) -> list[SinkMessage]:
    """The messages of ``batch``, with what the rule's templates make of them."""
    more = {"description": spec.description, "expression": spec.expression}
    return [
        SinkMessage(one, rendered(spec.alert.title, one, more), rendered(spec.alert.text, one, more))
        for one in messages_of(batch)
    ]


async def _take(client: Client, target: str, partition: str, batch: dict[str, object]) -> None:
    """Have the sink of ``target`` take ``batch``; it is started where it does not run."""
    await client.start_workflow(
        SINK,
        args=[SinkInput(target=target, partition=partition), b""],
        id=sink_id(target, partition),
        task_queue=activity.info().task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        start_signal=TAKE,
        start_signal_args=[batch],
        static_summary=f"tells {target} [{partition}]",
    )


@activity.defn(name=SOURCE_READ)
async def source_read(topic: str, marks: Sequence[tuple[int, int, int, int | None]]) -> SourceRead:
    """Up to which instant everything was read that was published, of whoever has had ``topic`` up to
    ``marks``: each a partition and a place there. Fails where the broker does not answer.
    """
    async with heartbeats():
        return await asyncio.to_thread(_read, topic, {p: Mark(a, b, at) for p, a, b, at in marks})


def _read(topic: str, marks: dict[int, Mark]) -> SourceRead:
    # Not with the module: it needs the broker's client library, which other workers do without.
    from timeline_workers.servers.pulsar.backlog import backlogs

    now = time.time_ns() // 1_000
    found = backlogs({topic: (topic, marks)}).get(topic)
    if found is None:
        raise ConnectionFailedError(
            f"topic {topic} cannot be looked into, so nobody knows up to when it was read"
        )
    read = now if found.oldest is None else min(now, found.oldest - 1)
    return SourceRead(read=read, waits=found.oldest is not None, partitions=found.partitions)


ALERT_ACTIVITIES = (tell_targets, source_read)
