"""Workflows that compute nothing: what Temporal alone costs in a tree of the same shape.

``BareNode`` has what a timeline worker has of Temporal and no more: its signal handlers append, its run
method empties what has arrived, and a local activity signals its subscribers, one message under way per
edge. A node with two inputs sends on the batch that both have brought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

TASK_QUEUE = "bench-bare"
_ATTEMPT = timedelta(seconds=10)


@dataclass
class BareInput:
    """``inputs``: how many edges come in; ``subscribers``: the workflows that are told."""

    inputs: int
    subscribers: list[str] = field(default_factory=list)
    coalesce: bool = False


@activity.defn
async def pass_on(workflow_id: str, body: bytes) -> None:
    """Signal a workflow."""
    await activity.client().get_workflow_handle(workflow_id).signal("take", body, rpc_timeout=_ATTEMPT)


@workflow.defn
class BareNode:
    """Sends on what it is sent. The query ``taken`` says how many batches have come from every input."""

    @workflow.init
    def __init__(self, input: BareInput) -> None:
        self._arrived: list[bytes] = []
        self._count = 0
        self._stopping = False

    @workflow.run
    async def run(self, input: BareInput) -> None:
        """Run until ``stop``."""
        pending: list[bytes] = []
        while not self._stopping:
            await workflow.wait_condition(lambda: bool(self._arrived) or self._stopping)
            pending += self._arrived
            self._arrived = []
            while len(pending) >= input.inputs and not self._stopping:
                body, pending = pending[0], pending[input.inputs :]
                for subscriber in input.subscribers:
                    await workflow.execute_local_activity(
                        pass_on, args=[subscriber, body], start_to_close_timeout=_ATTEMPT
                    )
                self._count += 1

    @workflow.signal
    def take(self, body: bytes) -> None:
        """Take a batch."""
        self._arrived.append(body)

    @workflow.signal
    def stop(self) -> None:
        """End."""
        self._stopping = True

    @workflow.query
    def taken(self) -> int:
        """How many batches it has sent on."""
        return self._count


def build_worker(client: Client) -> Worker:
    """A worker of these workflows, set up as ours is."""
    from timeline_workers.settings.timeline_settings import Settings
    from workflows.worker import workflow_runner

    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[BareNode],
        activities=[pass_on],
        workflow_runner=workflow_runner(Settings.from_env()),
        max_concurrent_local_activities=200,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(minimum=1, maximum=16, initial=4),
    )


async def start_tree(client: Client, edges: Sequence[tuple[str, int, list[str]]]) -> None:
    """Start one ``BareNode`` for each (id, inputs, subscribers)."""
    for workflow_id, inputs, subscribers in edges:
        await client.start_workflow(
            "BareNode", BareInput(inputs, subscribers), id=workflow_id, task_queue=TASK_QUEUE
        )


async def stop_tree(client: Client, ids: Sequence[str]) -> None:
    """End them."""
    for workflow_id in ids:
        await client.get_workflow_handle(workflow_id).signal("stop")


def main() -> None:
    """``python -m benchmarks.bare``: run a worker process until it is ended."""
    import asyncio

    from timeline_workers.servers.temporal.temporal_client import connect

    async def serve() -> None:
        async with build_worker(await connect()):
            await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    # Under its own name, by which the sandbox finds the workflow.
    from benchmarks import bare

    bare.main()
