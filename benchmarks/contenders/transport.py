"""The bare transport: the batches of bytes that our feeder would send, through a tree of the same shape that
computes nothing (``benchmarks.bare``).

Leaf batches are encoded before. Its time begins with the first signal and ends when the last workflow has
taken the last batch. Nothing is answered, so its answers are the engine's own.

``receive``: the events are in a topic, and a batch is sent when its messages have been received from there,
with which nothing is done: all that has to be carried from the topic to the workflows.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks import bare, stack, workloads
from feeder.routing.router import Messages, Router, groups_of
from feeder.source.connect_pulsar import connect_source
from feeder.source.partitioned_source import PartitionedSource
from feeder.topic_feeder import BATCH_MESSAGES
from timeline_workers.columns.event_batch import Positions
from timeline_workers.plan.physical import Plan, all_workers, plan

from .job import AT_END, Collect, Job, Run, main, names

AHEAD = 8
POLL_SECONDS = 0.01
_AT_ONCE = threading.Event()
_AT_ONCE.set()


def prepare(job: Job) -> tuple[Run, Collect]:
    planned = plan(stack.metric("bench", job.expression, job.values))
    leaves, batches = _batches(job, planned)
    system = stack.Stack(real_broker=job.options.get("real_broker", False))
    AT_END.append(system.close)
    for _ in range(stack.cores()):
        system.start("benchmarks.bare")
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(system.client())
    loop.run_until_complete(bare.start_tree(client, tree(planned)))
    result = client.get_workflow_handle(all_workers(planned)[-1].worker_id)
    # The workers' first workflow tasks are not within the time, as they are not within ours.
    loop.run_until_complete(result.query("taken"))

    receives: bool = job.options.get("receive", False)
    if receives:
        known = names(job.keys)
        pairs = zip((known[key] for key in job.key), job.lines(), strict=True)
        system.publish(pairs)

    async def send() -> None:
        source = await _opened(system) if receives else None
        received = 0
        for number, parcels in enumerate(batches):
            until = min((number + 1) * BATCH_MESSAGES, job.events)
            while source is not None and received < until:
                received += len(await source.receive(_AT_ONCE))
            while number - await result.query("taken") >= AHEAD:
                await asyncio.sleep(POLL_SECONDS)
            handles = (client.get_workflow_handle(leaf) for leaf in leaves)
            await asyncio.gather(
                *(handle.signal("take", body) for handle, body in zip(handles, parcels, strict=True))
            )
        while await result.query("taken") < len(batches):
            await asyncio.sleep(POLL_SECONDS)

    def run() -> None:
        loop.run_until_complete(send())

    def collect(_: object) -> Iterable[tuple[int, int]]:
        return enumerate(workloads.expected(Path(job.folder), job.events).tolist())

    return run, collect


async def _opened(system: stack.Stack) -> PartitionedSource:
    source = await asyncio.to_thread(connect_source, system.servers.pulsar, stack.TOPIC, "transport")
    await source.open({0: None}, None, BATCH_MESSAGES)
    return source


def tree(planned: Plan) -> list[tuple[str, int, list[str]]]:
    """(id, number of inputs, subscribers) of every worker of a metric; the result's is the last."""
    specs = all_workers(planned)
    subscribers: dict[str, list[str]] = {spec.worker_id: [] for spec in specs}
    for spec in specs:
        for slot in spec.inputs:
            for worker in slot:
                subscribers[worker].append(spec.worker_id)
    return [
        (spec.worker_id, max(1, sum(map(len, spec.inputs))), subscribers[spec.worker_id]) for spec in specs
    ]


def _batches(job: Job, planned: Plan) -> tuple[list[str], list[list[bytes]]]:
    """The leaves, and for each batch of the feeder what each of them is sent."""
    ((group,),) = groups_of([planned]).values()
    router = Router(group)
    lines, times = job.lines(), np.asarray(job.time)
    leaves: list[str] = []
    found: list[list[bytes]] = []
    for first in range(0, job.events, BATCH_MESSAGES):
        rows = slice(first, min(first + BATCH_MESSAGES, job.events))
        positions = Positions.in_input(first, rows.stop - first)
        routed = router.route(Messages(lines[rows], positions, times[rows]))
        leaves = leaves or list(routed.parcels)
        found.append([b"".join(p.payload for p in routed.parcels[leaf]) for leaf in leaves])
    return leaves, found


if __name__ == "__main__":
    main(prepare, rehearse=False)
