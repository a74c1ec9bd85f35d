"""Weights of messages and states: the feeder's router and all workers of a partition in one process, in
order and without Temporal. Bytes do not depend on the machine or on what else it does.

Keys are UUIDs, as sessions have them: unlike numbered names they cannot be compressed away. There are many
more of them than events in a batch, so that hardly any batch has two events of one key.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from feeder.routing.router import Messages, Router, groups_of
from timeline_workers.capacity.costs import Bytes
from timeline_workers.columns.event_batch import Positions
from timeline_workers.plan.physical import Plan, WorkerSpec, plan, workers
from timeline_workers.runtime.eviction import evict, pack_idle
from timeline_workers.runtime.node_worker import NodeWorker

from . import stack, workloads
from .contenders import job

MESSAGE_BYTES = 256 * 1024
CHUNK_BYTES = 448 * 1024
MINUTE = 60_000_000
FAR = 2**52  # published so late that no event is ahead of it
BATCHES = 8
KEPT_EVENTS = 4


@dataclass
class Partition:
    """The feeder's router, and all workers of partition p0 of a plan with one partition."""

    planned: Plan
    leaf_bytes: int = 0
    leaf_messages: int = 0
    edge_bytes: int = 0
    edge_messages: int = 0
    workers: dict[str, NodeWorker] = field(default_factory=dict)
    last: int = 0

    def __post_init__(self) -> None:
        ((group,),) = groups_of([self.planned]).values()
        self._router = Router(group)
        self._specs: list[WorkerSpec] = workers(self.planned, "p0")
        self._offset = 0
        self.workers = {spec.worker_id: NodeWorker(spec) for spec in self._specs}
        for spec in self._specs:
            for child in (child for slot in spec.inputs for child in slot):
                self.workers[child].subscribe(spec.worker_id, f"{spec.worker_id}/0")

    def feed(self, lines: Sequence[bytes], published: int) -> None:
        """One batch of the feeder: to the leaves, and from each worker to those above it."""
        positions = Positions.in_input(self._offset, len(lines))
        self._offset += len(lines)
        messages = Messages(list(lines), positions, np.full(len(lines), published))
        for worker, parcels in self._router.route(messages).parcels.items():
            for parcel in parcels:
                self.leaf_bytes += len(parcel.payload)
                self.leaf_messages += 1
                self.workers[worker].ingest(parcel.payload)
        self.hand_on()

    def feed_all(self, lines: Sequence[bytes], size: int = 20_000) -> None:
        """In batches of ``size``."""
        for first in range(0, len(lines), size):
            self.feed(lines[first : first + size], FAR)

    def hand_on(self) -> None:
        """Deliver what every worker has to say, children first."""
        for worker in self.workers.values():
            for subscriber in worker.subscribers():
                while (message := worker.outgoing(subscriber, MESSAGE_BYTES)) is not None:
                    self.edge_bytes += len(message)
                    self.edge_messages += 1
                    self.workers[subscriber].receive(message)
                    worker.delivered(subscriber)

    def sizes(self) -> list[int]:
        """The packed states of all workers after they have compacted."""
        found = []
        for worker in self.workers.values():
            worker.compact()
            found.append(sum(map(len, worker.snapshot(CHUNK_BYTES))))
        return found

    def evict_idle(self) -> int:
        """Let the keys leave that may; the bytes of their segments."""
        total = 0
        for worker in self.workers.values():
            evicted = pack_idle(worker, "life")
            if len(evicted.keys):
                evict(worker, evicted)
                total += evicted.size
        return total


def session_ids(count: int, seed: int) -> list[str]:
    """``count`` random UUIDs, the same for the same seed."""
    drawn = random.Random(seed)
    return [str(uuid.UUID(int=drawn.getrandbits(128), version=4)) for _ in range(count)]


def _lines(data: workloads.Data, names: Sequence[str]) -> Iterator[bytes]:
    numbered = data.lines(slice(0, len(data.time)))
    known = [name.encode() for name in job.names(data.keys)]
    for key, line in zip(data.key.tolist(), numbered, strict=True):
        yield line.replace(known[key], names[key].encode(), 1)


def weigh(metric: str, *, fuse: bool, sessions: int, batches: Sequence[int], seed: int) -> Bytes:
    """Weigh ``metric`` of ``workloads``. ``sessions``: how many; ``batches``: sizes of batches to fit to."""
    workload = workloads.METRICS[metric]
    names = session_ids(sessions, seed)
    leaf, edge = [], []
    for size in batches:
        data = workloads.generate(workload, sessions + BATCHES * size, sessions, seed)
        data = replace(data, key=np.append(_shuffled(sessions, seed), data.key[sessions:]))
        lines = list(_lines(data, names))
        # Keys leave so seldom that leaves need no signs of life.
        part = _partition(workload, data, fuse, lateness="1s", key_ttl="1d")
        part.feed_all(lines[:sessions])
        part.leaf_bytes = part.leaf_messages = part.edge_bytes = part.edge_messages = 0
        part.feed_all(lines[sessions:], size)
        leaf.append((BATCHES * size, part.leaf_messages, part.leaf_bytes))
        edge.append((BATCHES * size, part.edge_messages, part.edge_bytes))
    (leaf_event, leaf_message), (edge_event, edge_message) = fit(leaf), fit(edge)

    one, more = (_state(workload, names, events, fuse, seed).sizes() for events in (1, 1 + KEPT_EVENTS))
    kept = [(b - a) / (KEPT_EVENTS * sessions) for a, b in zip(one, more, strict=True)]
    idle = _state(workload, names, 1, fuse, seed, lateness="1s")
    resting = [size / sessions for size in idle.sizes()]
    archived = 0
    for late in range(len(idle.workers)):
        # What a worker has told of a key that left it, those above forget with the next message.
        archived += idle.evict_idle()
        idle.feed_all([_later(workload, idle.last + (late + 1) * MINUTE)])
    return Bytes(
        leaf_per_event=leaf_event,
        leaf_per_message=leaf_message,
        edge_per_event=edge_event,
        edge_per_message=edge_message,
        idle=sum(resting),
        largest_idle=max(resting),
        kept=sum(kept),
        largest_kept=max(kept),
        archived=archived / sessions,
    )


def pack_costs(metric: str, seed: int) -> tuple[float, float]:
    """Processor seconds of packing and reading a state, and the bytes it takes in memory, each for a byte of
    the packed state.
    """
    part = _state(workloads.METRICS[metric], session_ids(20_000, seed), 1 + KEPT_EVENTS, False, seed)
    seconds = packed = memory = 0.0
    for worker in part.workers.values():
        began = time.process_time()
        chunks = worker.snapshot(CHUNK_BYTES)
        again = NodeWorker.restore(worker.spec, chunks)
        seconds += time.process_time() - began
        packed += sum(map(len, chunks))
        memory += again.status()["bytes"]
    return seconds / packed, memory / packed


def fit(runs: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Of (a, b, sum) the two factors, neither below zero, with the least squares of the relative errors."""
    rows = np.array([(a / total, b / total) for a, b, total in runs])
    (x, y), *_ = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)
    if min(x, y) >= 0:
        return float(x), float(y)
    column = rows[:, 0] if y < 0 else rows[:, 1]
    only = float(column.sum() / (column @ column))
    return (only, 0.0) if y < 0 else (0.0, only)


def _partition(workload: workloads.Metric, data: workloads.Data, fuse: bool, **fields: str) -> Partition:
    fields = {"lateness": "1h", **fields}
    if fields["lateness"] == "1s":
        fields = {"key_ttl": "1s", **fields}
    wanted = stack.metric("capacity", workload.expression, data.columns, fuse=fuse, **fields)
    return Partition(plan(wanted))


def _state(
    workload: workloads.Metric, names: Sequence[str], events: int, fuse: bool, seed: int, **fields: str
) -> Partition:
    """A partition in which every session has had ``events`` events, and another one has one much later."""
    count = len(names)
    data = workloads.generate(workload, events * count, count, seed)
    data = replace(data, key=np.tile(_shuffled(count, seed), events))
    part = _partition(workload, data, fuse, **fields)
    part.feed_all(list(_lines(data, names)))
    part.last = int(data.time[-1])
    part.feed_all([_later(workload, part.last + MINUTE)])
    return part


def _shuffled(count: int, seed: int) -> NDArray[np.int32]:
    return np.random.default_rng(seed).permutation(count).astype(np.int32)


def _later(workload: workloads.Metric, time: int) -> bytes:
    (line,) = workloads.generate(workload, 1, 1, 0).lines(slice(0, 1))
    event = msgspec.json.decode(line)
    return msgspec.json.encode({**event, "key": f"late-{time}", "time": time})
