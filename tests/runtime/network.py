"""A network of workers without Temporal.

Messages may be repeated and delayed, workers may be carried over, and a worker may be killed between two
commits: what it did since is undone and done again from the same inputs, perhaps in one go with later ones,
but what it sent has been sent. With ``folding``, workers also forget what they need not keep, at any time,
and edges begin anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from timeline_workers.algebra.leaf_input import LeafRouter, Progress
from timeline_workers.columns.event_batch import EventBatch
from timeline_workers.language.parser import parse
from timeline_workers.plan.physical import (
    Plan,
    WorkerSpec,
    global_workers,
    partition_labels,
    partition_of,
    workers,
)
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.leaf_batch import encode_leaf_batch

Choose = Callable[[int], int]


class Network:
    """All workers of a plan. ``choose(n)`` picks one of ``n`` possibilities; tests draw it at random.

    ``folding``: instants up to which a worker may be asked to compact early; None: no worker compacts.
    """

    def __init__(
        self,
        plan: Plan,
        choose: Choose,
        message_bytes: int = 400_000,
        compacting: Sequence[int] | None = None,
    ) -> None:
        self.compacting = compacting
        self.epochs: dict[tuple[str, str], int] = {}
        self.plan = plan
        self.choose = choose
        self.message_bytes = message_bytes
        specs = [spec for label in partition_labels(plan) for spec in workers(plan, label)]
        self.specs: dict[str, WorkerSpec] = {s.worker_id: s for s in [*specs, *global_workers(plan)]}
        self.workers = {name: NodeWorker(spec) for name, spec in self.specs.items()}
        self.feeds: dict[str, deque[bytes]] = {n: deque() for n, s in self.specs.items() if s.node.is_leaf}
        self.fed: dict[str, list[bytes]] = {name: [] for name in self.feeds}
        self.unsubscribed = [(n, child) for n, s in self.specs.items() for slot in s.inputs for child in slot]
        self.on_their_way: list[tuple[str, int, str, bytes]] = []
        self.attempt = dict.fromkeys(self.workers, 0)
        self.committed = {name: worker.snapshot(1 << 20) for name, worker in self.workers.items()}
        self.since: dict[str, list[tuple[str, tuple[Any, ...]]]] = {name: [] for name in self.workers}

    def feed(self, batch: EventBatch, progress: tuple[Progress, ...]) -> None:
        """Route a batch as the feeder does: every leaf of a partition hears of every key of it."""
        source = self.plan.metric.source
        for name, queue in self.feeds.items():
            spec = self.specs[name]
            rows = [
                i
                for i, k in enumerate(batch.key.tolist())
                if partition_of(batch.keys[k], source) == spec.partition
            ]
            part = _rows(batch, rows)
            queue.append(encode_leaf_batch(LeafRouter(parse(spec.node.expression)).batch(part, progress)))

    def step(self) -> None:
        """Let one thing happen, chosen among all that can."""
        possible: list[Callable[[], None]] = []
        possible += [lambda name=name: self._feed_leaf(name) for name, queue in self.feeds.items() if queue]
        possible += [lambda name=name: self._feed_again(name) for name, fed in self.fed.items() if fed]
        possible += [lambda pair=pair: self._subscribe(pair) for pair in self.unsubscribed]
        possible += [lambda name=name: self._send(name) for name in self.workers]
        possible += [lambda i=i: self._arrive(i) for i in range(len(self.on_their_way))]
        possible += [lambda name=name: self._carry_over(name) for name in self.workers]
        possible += [lambda name=name: self._commit(name) for name in self.workers]
        possible += [lambda name=name: self._kill(name) for name in self.workers]
        if self.compacting is not None and not self.unsubscribed:
            possible += [lambda name=name: self._fold(name) for name in self.workers]
            possible += [lambda pair=pair: self._subscribe(pair) for pair in self.epochs]
        possible[self.choose(len(possible))]()

    def settle(self) -> None:
        """Let all that is still to happen happen."""
        for pair in list(self.unsubscribed):
            self._subscribe(pair)
        while True:
            for name, queue in self.feeds.items():
                while queue:
                    self._feed_leaf(name)
            for name in self.workers:
                self._send(name)
            if not self.on_their_way:
                return
            while self.on_their_way:
                self._arrive(0)

    def _feed_leaf(self, name: str) -> None:
        payload = self.feeds[name].popleft()
        self._input(name, "ingest", payload)
        self.fed[name].append(payload)

    def _feed_again(self, name: str) -> None:
        # What was not acknowledged in time is delivered again, from some point on.
        for payload in self.fed[name][self.choose(len(self.fed[name])) :]:
            self._input(name, "ingest", payload)

    def _input(self, name: str, method: str, *arguments: Any) -> None:
        getattr(self.workers[name], method)(*arguments)
        self.since[name].append((method, arguments))

    def _commit(self, name: str) -> None:
        self.committed[name] = self.workers[name].snapshot(1 << 20)
        self.since[name] = []

    def _kill(self, name: str) -> None:
        self.attempt[name] += 1
        self.workers[name] = NodeWorker.restore(self.specs[name], self.committed[name])
        for method, arguments in self.since[name]:
            getattr(self.workers[name], method)(*arguments)

    def _subscribe(self, pair: tuple[str, str]) -> None:
        name, child = pair
        self.unsubscribed = [p for p in self.unsubscribed if p != pair]
        self.epochs[pair] = self.epochs.get(pair, -1) + 1
        self._input(child, "subscribe", name, f"{name}/{self.epochs[pair]}", self.output_for(name))

    def output_for(self, name: str) -> str:
        """Which output of what it subscribes to ``name`` hears."""
        return ""

    def _fold(self, name: str) -> None:
        assert self.compacting is not None
        early = [None, None, None, *self.compacting]
        self._input(name, "compact", early[self.choose(len(early))])

    def _send(self, name: str) -> None:
        worker = self.workers[name]
        for subscriber in worker.subscribers():
            message = worker.outgoing(subscriber, self.message_bytes, self.output_for(subscriber))
            if message is not None:
                self.on_their_way.append((name, self.attempt[name], subscriber, message))

    def _arrive(self, index: int) -> None:
        sender, attempt, subscriber, message = self.on_their_way.pop(index)
        for _ in range(1 + self.choose(2)):
            self._input(subscriber, "receive", message)
        output = self.output_for(subscriber)
        edge = self.workers[sender].edge(subscriber, output)
        # A send under an epoch that is over is given up: nobody hears that it arrived.
        if attempt == self.attempt[sender] and edge is not None and edge.in_flight == message:
            self.workers[sender].delivered(subscriber, output)

    def _carry_over(self, name: str) -> None:
        chunks = self.workers[name].snapshot(1 + self.choose(2) * 50)
        self.workers[name] = NodeWorker.restore(self.specs[name], chunks)
        self.attempt[name] += 1
        self._commit(name)
        # A send given up at the change of runs is made again; one that arrived after all is dropped.
        self.on_their_way = [m for m in self.on_their_way if m[0] != name or self.choose(2)]


def _rows(batch: EventBatch, rows: Sequence[int]) -> EventBatch:
    used = sorted({int(batch.key[i]) for i in rows})
    number = {old: new for new, old in enumerate(used)}
    picked = list(rows)
    key = batch.key[picked].copy()
    for i, old in enumerate(key.tolist()):
        key[i] = number[old]
    return EventBatch(
        [batch.keys[old] for old in used],
        key,
        batch.time[picked],
        batch.position.take(picked),  # type: ignore[arg-type]
        {n: type(c)(c.tags[picked], c.bits[picked], c.strings) for n, c in batch.columns.items()},
    )
