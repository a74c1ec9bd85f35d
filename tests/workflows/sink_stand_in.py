"""A workflow that stands for the sink of a target: it takes batches as one does, and keeps every message."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.sink_messages import SinkMessage, sink_id, unpack_sink_batch

QUEUE = "sink-stand-ins"


@workflow.defn(name="SinkStandIn")
class SinkStandIn:
    """``sent``: what the signals had, again and again included; ``messages``: each message once."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._sent: list[dict[str, Any]] = []
        self._messages: list[SinkMessage] = []
        self._stopped = False

    @workflow.run
    async def run(self) -> None:
        """Run until `stop`."""
        await workflow.wait_condition(lambda: self._stopped)

    @workflow.signal
    def take(self, packed: dict[str, Any]) -> None:
        """Take a batch of a rule's worker."""
        batch = unpack_sink_batch(packed)
        self._sent.append(packed)
        self._messages += batch.after(self._last.get(batch.origin, 0))
        self._last[batch.origin] = max(batch.last, self._last.get(batch.origin, 0))

    @workflow.signal
    def stop(self) -> None:
        """End."""
        self._stopped = True

    @workflow.query
    def sent(self) -> list[dict[str, Any]]:
        """Every batch that was sent."""
        return self._sent

    @workflow.query
    def told(self) -> list[dict[str, Any]]:
        """Every message once, in order, as in a batch."""
        found: list[dict[str, Any]] = msgspec.to_builtins(self._messages)
        return found


@contextlib.asynccontextmanager
async def stand_ins(client: Client) -> AsyncIterator[None]:
    """A worker for stand-ins, besides those of the product."""
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue=QUEUE, workflows=[SinkStandIn], workflow_runner=runner):
        yield


async def start_stand_in(client: Client, target: str, partitions: Sequence[str] = ("p0",)) -> None:
    """Have a stand-in run for each of ``partitions``, where a rule's worker would start the sink itself."""
    for partition in partitions:
        await client.start_workflow("SinkStandIn", id=sink_id(target, partition), task_queue=QUEUE)


async def messages_told(client: Client, target: str, partition: str = "p0") -> list[Message]:
    """What the stand-in has been told, each message once."""
    told = await client.get_workflow_handle(sink_id(target, partition)).query("told")
    return [one.message for one in msgspec.convert(told, list[SinkMessage])]
