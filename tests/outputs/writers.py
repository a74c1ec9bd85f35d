"""A network whose results are heard by writers, as ``TopicOutput`` is one, and a topic that they publish to.

What a workflow records is a step that happens or does not; what an activity does is not: an attempt to
publish stores one message after the other, and is killed at any moment, or stores all and nobody hears of it,
or goes on, long given up, beside those after it. Workers end and begin afresh.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from tests.runtime.network import Network
from timeline_workers.errors import StateError
from timeline_workers.metric.model import Metric, Output
from timeline_workers.plan.output_workers import OutputSpec, output_workers
from timeline_workers.plan.physical import plan
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.runtime.subscriber import Subscriber
from timeline_workers.servers.pulsar.changelog_topic import partition_of
from timeline_workers.wire.changelog_messages import ToPublish
from workflows.outputs.batches import Gathering, pack_batch, unpack_batch, watermark_of
from workflows.outputs.topic_activities import rendered


class Topic:
    """What is stored in each partition, in order."""

    def __init__(self, partitions: int) -> None:
        self.partitions: list[list[tuple[str, ToPublish]]] = [[] for _ in range(partitions)]

    def put(self, writer: str, one: ToPublish) -> Iterator[None]:
        """Store a message of ``writer``; a watermark in one partition after the other."""
        count = len(self.partitions)
        for target in range(count) if one.key is None else [partition_of(one.key, count)]:
            self.partitions[target].append((writer, one))
            yield


class Writer:
    """One writer: what it has recorded, and the attempts to publish that are under way."""

    def __init__(self, spec: OutputSpec, topic: Topic, began: int, batch_bytes: int) -> None:
        self.spec, self.topic, self.began, self.batch_bytes = spec, topic, began, batch_bytes
        self.heard = [worker for slot in spec.inputs for worker in slot]
        self.subscriber = Subscriber(spec.worker_id, self.heard)
        self.inbox: deque[bytes] = deque()
        self.batches: deque[bytes] = deque()
        self.given_out = 0
        self.has_lost = False
        self.told: int | None = None
        self.attempt: Iterator[None] | None = None
        self.given_up: list[Iterator[None]] = []

    def task(self, most: int) -> bool:
        """Take ``most`` messages into batches, as a workflow task does; False where one was refused."""
        fine = True
        gathering = Gathering(self.began + self.given_out, self.batch_bytes)
        while self.inbox and most and not self.batches:
            most -= 1
            try:
                found = self.subscriber.take(self.inbox.popleft())
            except StateError:
                fine = False
                continue
            if found is not None:
                gathering.add(found)
        self.batches += map(pack_batch, gathering.batches())
        self.given_out = gathering.revision - self.began
        return fine

    def lost_task(self) -> None:
        """The same by a process that is killed before anything is recorded."""
        copy = Subscriber.restore(self.spec.worker_id, self.heard, self.subscriber.snapshot())
        for body in self.inbox:
            copy.take(body)

    def carry(self) -> None:
        """Go from one run to the next."""
        self.subscriber.compact()
        self.subscriber = Subscriber.restore(self.spec.worker_id, self.heard, self.subscriber.snapshot())
        self.give_up()

    def lose_state(self) -> None:
        """Begin anew without what was carried, of which nothing is left."""
        self.subscriber = Subscriber(self.spec.worker_id, self.heard, floor=self.told)
        self.inbox.clear()
        self.batches.clear()
        self.has_lost = True
        self.give_up()

    def give_up(self) -> None:
        """Forget the attempt, which goes on by itself, or does not."""
        if self.attempt is not None:
            self.given_up.append(self.attempt)
        self.attempt = None

    def linger(self, most: int) -> None:
        """Let an attempt that was given up store some more."""
        for _ in range(most):
            next(self.given_up[0], None)
        self.given_up.append(self.given_up.pop(0))

    def try_to_publish(self) -> None:
        """Begin another attempt to publish the first batch."""
        self.give_up()
        self.attempt = self._stored(unpack_batch(self.batches[0]))

    def _stored(self, batch: Any) -> Iterator[None]:
        for one in rendered(self.spec, batch):
            yield from self.topic.put(self.spec.worker_id, one)

    def publish(self, most: int, is_heard_of: bool) -> None:
        """Store ``most`` messages more; once there are none, the batch is done, if anybody hears of it."""
        assert self.attempt is not None
        for _ in range(most):
            if next(self.attempt, self) is self:
                self.attempt = None
                if is_heard_of:
                    mark = watermark_of(unpack_batch(self.batches.popleft()))
                    self.told = self.told if mark is None else mark
                return


class Written(Network):
    """A network with writers. ``loses_state``: those of writers may be gone, too."""

    def __init__(
        self,
        metric: Metric,
        choose: Callable[[int], int],
        partitions: int,
        message_bytes: int,
        batch_bytes: int,
        compacting: list[int] | None,
        loses_state: bool,
    ) -> None:
        planned = plan(metric.model_copy(update={"output": Output(topic="o")}))
        super().__init__(planned, choose, message_bytes, compacting)
        self.topic = Topic(partitions)
        self.loses_state = loses_state
        self.writers = {
            spec.worker_id: Writer(spec, self.topic, 1_000_000, batch_bytes)
            for spec in output_workers(planned)
        }
        self.unsubscribed += [(w.spec.worker_id, heard) for w in self.writers.values() for heard in w.heard]

    def output_for(self, name: str) -> str:
        """Which function of an aggregate ``name`` hears."""
        return self.writers[name].spec.function if name in self.writers else ""

    def _input(self, name: str, method: str, *arguments: Any) -> None:
        if name in self.writers:
            self.writers[name].inbox.append(*arguments)
        else:
            super()._input(name, method, *arguments)

    def step(self) -> None:
        """Let one thing happen; every other one is a writer's."""
        if self.choose(2):
            super().step()
            return
        writers = list(self.writers.values())
        writer = writers[self.choose(len(writers))]
        acts: list[Callable[[], object]] = [lambda: self._task(writer), writer.lost_task, writer.carry]
        if writer.batches:
            acts += [writer.try_to_publish]
        if writer.attempt is not None:
            publish = lambda: writer.publish(1 + self.choose(8), self.choose(4) > 0)  # noqa: E731
            acts += [publish, publish, publish, lambda: setattr(writer, "attempt", None), writer.give_up]
        acts += [lambda: writer.linger(1 + self.choose(8))] * min(2, len(writer.given_up))
        if not self.choose(20):
            acts += [lambda: self._reopen(writer)]
            # Afresh, a worker knows what is fed to it again, and an edge begins with what that has come to.
            acts += [lambda: self._begin_afresh(list(self.workers)[self.choose(len(self.workers))])]
            if self.loses_state:
                acts += [lambda: (writer.lose_state(), self._reopen(writer))]
        acts[self.choose(len(acts))]()

    def _task(self, writer: Writer) -> None:
        if not writer.task(1 + self.choose(4)):
            self._reopen(writer)

    def _reopen(self, writer: Writer) -> None:
        for heard in writer.heard:
            self._subscribe((writer.spec.worker_id, heard))

    def _begin_afresh(self, name: str) -> None:
        if self.compacting is not None:
            return  # what its inputs have forgotten they cannot tell
        self.workers[name] = NodeWorker(self.specs[name])
        self.attempt[name] += 1
        self._commit(name)
        if name in self.feeds:
            self.feeds[name] = deque([*self.fed[name], *self.feeds[name]])
            self.fed[name] = []
        told = [(reader, child) for reader, child in self.epochs if name in (reader, child)]
        for pair in [*told, *(pair for pair in self.unsubscribed if name in pair)]:
            self._subscribe(pair)

    def settle(self) -> None:
        """Let all that is still to happen happen; attempts long given up may end later still."""
        while True:
            super().settle()
            for writer in self.writers.values():
                while writer.batches or writer.inbox:
                    self._task(writer)
                    if writer.batches:
                        writer.try_to_publish()
                        writer.publish(1_000_000, True)
                while writer.given_up and self.choose(3):
                    writer.linger(1 + self.choose(8))
            if not self.on_their_way and not any(w.inbox for w in self.writers.values()):
                return
