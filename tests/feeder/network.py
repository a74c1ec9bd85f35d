"""Feeders, a topic and leaf workers without Pulsar and without Temporal, and what may go wrong between them.

Everything that a feeder process asks of others takes a random time, before it has an effect and after it;
and at any of these moments the process may be killed. Leaf workers are ``NodeWorker`` objects with an inbox:
they apply what they were sent some time later, go on in another run, and are ended by hand. The clock is
that of ``virtual_time``, and everything else is drawn from one seed.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from feeder.delivery.leaf_delivery import Leaves
from feeder.metric_catalog import Catalog
from feeder.positions import ENTRY_STEP, SILENT, Offset, read_progress
from feeder.program import _feed_topic
from feeder.recovery.continuity import OnReset
from feeder.recovery.gaps import Gaps
from feeder.reporting import Counts
from feeder.routing.router import groups_of
from feeder.source.begin import Begin
from feeder.source.memory import MemoryMessage, MemorySource, MemoryTopic
from feeder.source.partitioned_source import DeadLetter, Run as RunCall
from feeder.storing.history_tee import HistoryTee
from feeder.storing.history_thread import Work
from feeder.storing.tee import NoTee, Tee
from feeder.topic_feeder import TopicFeeder
from tests.history.model_store import ModelStore
from timeline_workers.errors import HistoryError
from timeline_workers.plan.physical import Plan, WorkerSpec, all_workers
from timeline_workers.runtime.node_worker import NodeWorker
from workflows.client.running import NotRunningError, Run
from workflows.worker_status import WorkerStatus

T = TypeVar("T")

EPOCH_MS = 1_700_000_000_000
GROUP = "feeders"
TOPIC = "events"
# What anybody may take to answer, in seconds; most answer at once.
DELAYS = (0.0, 0.0, 0.001, 0.01, 0.05, 0.4)
QUIET_SECONDS = 600.0


class Killed(BaseException):
    """The process of whoever is here has been killed."""


class Inline:
    """Computes at once, on no thread."""

    def __init__(self, name: str) -> None: ...

    async def run(self, call: Any, *arguments: Any) -> Any:
        return call(*arguments)

    def close(self) -> None: ...


@dataclass
class LeafWorker:
    """A leaf worker as Temporal has it: a node, what it was sent and has not applied, and its present run."""

    node: NodeWorker
    run: Run
    incomplete: bool = True
    inbox: deque[bytes] = field(default_factory=deque)


class Network:
    """All of it. ``plans``: of the metrics that read the topic; ``alone``: one feeder at a time reads it, all
    by itself, as on the embedded broker. It is the catalog, too.
    """

    def __init__(
        self, plans: Sequence[Plan], rng: random.Random, partitions: int = 2, *, alone: bool = False
    ) -> None:
        self.plans, self.rng, self.topic = list(plans), rng, MemoryTopic(TOPIC, partitions)
        self.alone = alone
        self.topics, self.version = groups_of(plans), 1
        self.specs = {spec.worker_id: spec for plan in plans for spec in all_workers(plan)}
        self.leaves: dict[str, LeafWorker] = {}
        self.runs = 0
        self.processes: list[Process] = []
        self.times: set[int] = set()
        # The history store, where there is one, whether it answers, and for how long it is waited for.
        self.history: ModelStore | None = None
        self.history_is_away = False
        self.patience = math.inf
        for spec in self.specs.values():
            self.start(spec)

    # What the metrics are.

    def register(self, plans: Sequence[Plan]) -> None:
        """Have further metrics fed from now on."""
        self.plans += plans
        self.topics, self.version = groups_of(self.plans), self.version + 1
        self.specs = {spec.worker_id: spec for plan in self.plans for spec in all_workers(plan)}
        for spec in self.specs.values():
            self.start(spec)

    async def refresh(self) -> None: ...

    async def needed(self, leaf: str) -> bool:
        return any(leaf in group.leaves for group in self.topics[TOPIC])

    async def readers(self, label: str) -> list[WorkerSpec]:
        return []

    # Time and what is published.

    def delay(self) -> float:
        return self.rng.choice(DELAYS)

    def now_ms(self) -> int:
        return EPOCH_MS + int(asyncio.get_running_loop().time() * 1000)

    def publish(self, partition: int, events: Sequence[Mapping[str, Any] | bytes]) -> None:
        """Store these as one entry."""
        payloads = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
        self.topic.publish(partition, *payloads, key="k", published=self.now_ms() * 1000)

    def unique(self, at: int) -> int:
        """This time, or one just before it that no event has: their order at one instant is no subject."""
        while at in self.times:
            at -= 1
        self.times.add(at)
        return at

    # Leaf workers.

    def start(self, spec: WorkerSpec) -> bool:
        if not spec.node.is_leaf or spec.worker_id in self.leaves:
            return False
        self.runs += 1
        run = Run(f"first-{self.runs}", f"first-{self.runs}")
        self.leaves[spec.worker_id] = LeafWorker(NodeWorker(spec), run)
        return True

    def end(self, worker: str) -> None:
        """End a leaf worker by hand: what it held is gone."""
        self.leaves.pop(worker, None)

    def go_on(self, worker: str) -> None:
        """Continue a worker as new."""
        leaf = self.leaves[worker]
        self.runs += 1
        leaf.node = NodeWorker.restore(leaf.node.spec, leaf.node.snapshot(1 << 20))
        leaf.run = Run(leaf.run.first, f"next-{self.runs}")

    def apply(self, leaf: LeafWorker) -> None:
        if leaf.inbox:
            leaf.node.ingest(leaf.inbox.popleft())
        if self.leaves.get(leaf.node.spec.worker_id) is leaf and self.rng.random() < 0.05:
            self.go_on(leaf.node.spec.worker_id)

    # Feeders.

    def feeder(self, *, killed_after: int | None = None, batch: int = 1_000) -> Process:
        for other in self.processes if self.alone else ():
            other.kill()
        process = Process(self, killed_after, batch)
        self.processes.append(process)
        return process

    def now_after(self) -> int:
        """A time after all events, in milliseconds."""
        return max(self.times, default=EPOCH_MS) + 100_000

    async def settle(self) -> None:
        """Let one feeder that nobody kills feed all that there is. Raises AssertionError when it does not."""
        for process in self.processes:
            process.kill()
        self.feeder()
        loop = asyncio.get_running_loop()
        until = loop.time() + QUIET_SECONDS
        while not self.all_is_fed():
            assert loop.time() < until, self.behind()
            await asyncio.sleep(0.5)

    def behind(self) -> dict[str, Any]:
        return {
            worker: (leaf.incomplete, len(leaf.inbox), {p: r.offset for p, r in self.reached(leaf).items()})
            for worker, leaf in self.leaves.items()
        }

    def reached(self, leaf: LeafWorker) -> Any:
        return read_progress(WorkerStatus.model_validate({"state": leaf.node.status()}))

    def all_is_fed(self, ends: Mapping[int, Offset] | None = None) -> bool:
        """Whether every leaf has what it will ever have. ``ends``: of partitions that were cut off."""
        if ends is None:
            ends = {p: stored[-1].place for p, stored in enumerate(self.topic.stored) if stored}
        return set(self.leaves) == {w for w, s in self.specs.items() if s.node.is_leaf} and all(
            not leaf.incomplete
            and not leaf.inbox
            and all(p in at and at[p].offset >= end for p, end in ends.items())
            for leaf in self.leaves.values()
            for at in (self.reached(leaf),)
        )


class Process:
    """One feeder process, which runs the real ``TopicFeeder`` until it is stopped or killed.

    ``killed_after``: the number of the moment at which it is killed.
    """

    def __init__(self, network: Network, killed_after: int | None, batch: int) -> None:
        self.network, self.killed_after, self.batch = network, killed_after, batch
        self.steps, self.dead = 0, False
        self.stop = asyncio.Event()
        self.source: StagedSource | None = None
        self.gaps, self.counts = Gaps(), Counts()
        self.leaves = Leaves(Door(self), network.needed, network.readers)
        self.task = asyncio.create_task(_feed_topic(TOPIC, self._make, self.stop))

    async def _make(self, topic: str) -> TopicFeeder:
        await self.step()
        self.source = ReaderSource(self) if self.network.alone else StagedSource(self)
        return TopicFeeder(
            self.source,
            cast(Catalog, self.network),
            self.leaves,
            self.gaps,
            self.counts,
            batch_messages=self.batch,
            on_reset=OnReset.resume,
            elsewhere=Inline,
            tee=self._tee,
        )

    def _tee(self, run: RunCall) -> Tee:
        assert self.source is not None
        if self.network.history is None:
            return NoTee(self.source)
        stores = StagedStores(self, self.network.history)
        return HistoryTee(self.source, stores, run, patience=self.network.patience, at_once=self.batch)

    async def step(self) -> None:
        """A moment at which the process may be killed."""
        self.steps += 1
        if self.steps == self.killed_after:
            self.kill()
        if self.dead:
            raise Killed
        await asyncio.sleep(self.network.delay())
        if self.dead:
            raise Killed

    def kill(self) -> None:
        """End it on the spot: what it does from now on has no effect on anybody."""
        if not self.dead:
            self.dead = True
            if self.source is not None:
                self.source.leave()
            self.task.cancel()


class StagedStores:
    """A history store that takes its time, and is away at times."""

    def __init__(self, process: Process, store: ModelStore) -> None:
        self._process, self._store = process, store

    async def call(self, work: Work[T]) -> T:
        await self._process.step()
        if self._process.network.history_is_away:
            raise HistoryError("the store is away", may_pass=True)
        found = await work(self._store)
        await self._process.step()
        return found


class StagedSource(MemorySource):
    """A source in memory that takes its time. ``skips``: how many entries of the next batch get lost."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.network.topic, GROUP)
        self.process, self.skips = process, 0

    async def open(self, after: Mapping[int, Offset | None], begin: Begin | None, many: int) -> None:
        await self.process.step()
        await super().open(after, begin, many)
        await self.process.step()

    async def receive(self, wanted: threading.Event) -> Sequence[MemoryMessage]:
        await self.process.step()
        found = await super().receive(wanted)
        await self.process.step()
        # A broker delivers entries as a whole, or not.
        ended = {_entry(message) for message in found if message.ends_entry}
        begun = (_entry(message) for message in found if message.place.minor % ENTRY_STEP == 0)
        entries = [entry for entry in begun if entry in ended]
        skips, self.skips = min(self.skips, len(entries)), 0
        skipped = set(self.process.network.rng.sample(entries, skips))
        return [message for message in found if _entry(message) not in skipped]

    async def acknowledge(self, messages: Any) -> None:
        await self.process.step()
        await super().acknowledge(messages)
        await self.process.step()

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        await self.process.step()
        await super().publish(letters)
        await self.process.step()

    async def first_after(self, partition: int, after: Offset | None) -> Offset | None:
        await self.process.step()
        return await super().first_after(partition, after)

    async def close(self) -> None:
        if self.process.dead:
            raise Killed
        await super().close()


class ReaderSource(StagedSource):
    """A source that one feeder has for itself, and that begins where it is told."""

    shared = False

    async def open(self, after: Mapping[int, Offset | None], begin: Begin | None, many: int) -> None:
        await self.process.step()
        self.sent = {partition: place or SILENT.offset for partition, place in after.items()}
        self._many = many
        await self.process.step()

    async def acknowledge(self, messages: Any) -> None: ...

    def past_lock(self, signature: str) -> None: ...


def _entry(message: MemoryMessage) -> tuple[int, int, int]:
    return message.partition, message.place.major, message.place.minor // ENTRY_STEP


class Door:
    """The leaf workers as one process reaches them (see ``LeafWorkers``)."""

    def __init__(self, process: Process) -> None:
        self._process, self._network = process, process.network

    async def run_of(self, worker: str) -> Run | None:
        await self._process.step()
        leaf = self._network.leaves.get(worker)
        return None if leaf is None else leaf.run

    async def status(self, worker: str, run_id: str | None) -> WorkerStatus:
        await self._process.step()
        leaf = self._network.leaves.get(worker)
        if leaf is None or run_id not in (None, leaf.run.run_id):
            raise NotRunningError(worker, ended=True)
        status = {
            "state": leaf.node.status(),
            "incomplete": leaf.incomplete,
            "inbox": len(leaf.inbox),
        }
        await self._process.step()
        return WorkerStatus.model_validate(status)

    async def signal(self, worker: str, run_id: str | None, signal: str, *arguments: Any) -> bool:
        await self._process.step()
        leaf = self._network.leaves.get(worker)
        if leaf is None or run_id not in (None, leaf.run.run_id):
            return False
        if signal == "complete":
            leaf.incomplete = False
        else:
            [payload] = arguments
            leaf.inbox.append(payload)
            asyncio.get_running_loop().call_later(self._network.delay(), self._network.apply, leaf)
        await self._process.step()
        return True

    async def start(
        self, specs: Sequence[WorkerSpec], metrics: Sequence[str], others: Sequence[WorkerSpec]
    ) -> Collection[str]:
        await self._process.step()
        return [spec.worker_id for spec in specs if self._network.start(spec)]
