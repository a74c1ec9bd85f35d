"""Keys that leave a worker for its archives and come back change no answer, whatever is lost, repeated or
killed in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings, strategies as st

from tests.oracle.events import Event
from tests.properties import strategies as some
from tests.properties.batches import batch_of, pieces_of, shown
from tests.runtime.network import Choose, Network
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.nodes.aggregate import AggregateNode
from timeline_workers.answers.reader import Reader
from timeline_workers.errors import ExpressionError, QuestionError, UnknownNameError
from timeline_workers.language.canonical import to_text
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import Plan, partition_of, plan
from timeline_workers.runtime import eviction
from timeline_workers.runtime.key_archive import Archive
from timeline_workers.runtime.node_worker import NodeWorker


def _metric(
    expression: str, partitions: int = 1, key_ttl: int | None = 1, retention: int | None = None
) -> Metric:
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=partitions)
    return Metric(name="m", source=source, expression=expression, key_ttl=key_ttl, retention=retention)


class Departures(Network):
    """A network whose workers also send idle keys away when they are carried over, and call them back."""

    def __init__(self, plan: Plan, choose: Choose, message_bytes: int = 400_000) -> None:
        super().__init__(plan, choose, message_bytes, compacting=[])
        self.archives: dict[str, list[Archive]] = {name: [] for name in self.workers}
        self.left = self.returned = 0
        # Whoever subscribes after keys were evicted begins without them (README, limits).
        for pair in list(self.unsubscribed):
            self._subscribe(pair)

    def depart_everywhere(self) -> None:
        """Every worker is carried over, in some order."""
        names = list(self.workers)
        while names:
            self._carry_over(names.pop(self.choose(len(names))))

    def answer(self, name: str, question: str, asked: dict[str, Any]) -> Any:
        """What the worker says, or the newest archive that knows the key."""
        sources: list[NodeWorker | Archive] = [self.workers[name], *reversed(self.archives[name])]
        mark = self.workers[name].status()["watermark"]
        for source in sources:
            known = {} if isinstance(source, NodeWorker) or mark is None else {"watermark": mark}
            try:
                return source.ask(question, {**asked, **known})
            except UnknownNameError:
                continue
        raise UnknownNameError(f"{asked} is known nowhere")

    def _input(self, name: str, method: str, *arguments: Any) -> None:
        self._call_back(name, method, arguments)
        super()._input(name, method, *arguments)

    def _kill(self, name: str) -> None:
        self.attempt[name] += 1
        self.workers[name] = NodeWorker.restore(self.specs[name], self.committed[name])
        for method, arguments in self.since[name]:
            if method == "recall":
                eviction.recall(self.workers[name], *arguments)
            else:
                getattr(self.workers[name], method)(*arguments)

    def _call_back(self, name: str, method: str, arguments: tuple[Any, ...]) -> None:
        if method not in ("ingest", "receive") or isinstance(self.workers[name].node, AggregateNode):
            return
        names = eviction.unknown(self.workers[name], arguments)
        for archive in reversed(self.archives[name]):
            rest = names
            while rest:
                segments, rest = archive.recall(rest, "life", 1 + self.choose(2) * 10_000)
                self.returned += eviction.recall(self.workers[name], segments, "life")
                # What an archive has said is recorded before anything follows from it.
                self.since[name].append(("recall", (segments, "life")))
            names = [n for n in names if n not in self.workers[name].node.keys.index]

    def _carry_over(self, name: str) -> None:
        worker = self.workers[name]
        if isinstance(worker.node, AggregateNode):
            super()._carry_over(name)
            return
        if self.choose(2):
            worker.compact()
        departure = eviction.pack_idle(worker, "life")
        if len(departure.keys):
            # Which archive is decided by what was committed before, so that a lost attempt chose the same.
            if not self.archives[name] or len(self.archives[name][-1]) > 1:
                self.archives[name].append(Archive(self.specs[name]))
            for segment in departure.segments:
                for _ in range(1 + self.choose(2)):
                    self.archives[name][-1].add(segment)
            pieces = self.archives[name][-1].snapshot()
            self.archives[name][-1] = Archive.restore(self.specs[name], pieces)
            if self.choose(4) == 3:
                self._kill(name)  # before it was recorded that they left
                return
            eviction.evict(worker, departure)
            self.left += len(departure.keys)
        super()._carry_over(name)


@dataclass
class _Feed:
    """Batches of accepted events with the progress of two source partitions after each."""

    batches: list[tuple[list[Event], tuple[Progress, ...]]]

    @property
    def accepted(self) -> list[Event]:
        return [event for batch, _ in self.batches for event in batch]


@st.composite
def feeds(draw: st.DrawFn, expression: Any, max_size: int = 14) -> _Feed:
    """Events in and out of order within reach of the watermark, with pauses in which keys go idle."""
    events: list[Event] = draw(some.event_sets(expression, scale=1, max_size=max_size))
    marks: list[int | None] = [None, None]
    batches = []
    shift = 0
    for start in range(0, len(events), 2):
        shift += draw(st.sampled_from([0, 0, 3, 40]))
        accepted = []
        for i, event in enumerate(events[start : start + 2], start):
            mark, time = marks[i % 2], event.time + shift
            if mark is None or time >= mark:
                accepted.append(replace(event, time=time, position=(i % 2, 0, 10 * i)))
        if accepted:
            reached = max(e.time for e in accepted) - draw(st.integers(0, 4))
            for partition in (0, 1):
                if draw(st.integers(0, 3)):
                    marks[partition] = max(reached, marks[partition] or reached)
        batches.append((accepted, _progress(10 * start + 15, marks)))
        silent = draw(st.booleans())
        if accepted and silent:
            # Nothing comes for a while, and then the source says so.
            shift += 40
            marks = [max([e.time + 30 for e in accepted] + [m for m in marks if m is not None])] * 2
            batches.append(([], _progress(10 * start + 16, marks)))
    return _Feed(batches)


def _progress(minor: int, marks: list[int | None]) -> tuple[Progress, ...]:
    return tuple(Progress(partition, 0, minor, mark) for partition, mark in enumerate(marks))


def _chooser(data: st.DataObject) -> Choose:
    def choose(number: int) -> int:
        return data.draw(st.integers(0, number - 1)) if number > 1 else 0

    return choose


Asked = dict[tuple[str, str, int], Any]


def _run(network: Departures, feed: _Feed, data: st.DataObject) -> Iterator[None]:
    for batch, progress in feed.batches:
        network.feed(batch_of(batch), progress)
        if data.draw(st.integers(0, 3)):
            network.settle()
            network.depart_everywhere()
        else:
            for _ in range(data.draw(st.integers(0, 6))):
                network.step()
        yield
    for _ in range(data.draw(st.integers(0, 10))):
        network.step()
    network.settle()
    for _ in range(data.draw(st.integers(0, 2))):
        network.depart_everywhere()
        network.settle()
    yield


def _said(answer: Any) -> str:
    return repr((answer["value"], answer["since"], answer["until"], answer.get("slope")))


@settings(max_examples=settings().max_examples // 5)  # each example is a whole network
@given(st.data())
def test_keys_leave_and_come_back_and_no_answer_tells(data: st.DataObject) -> None:
    """At any time, with messages repeated, delayed and lost with the attempt that sent them: every key is
    answered for as if it had stayed, by the worker or an archive, and what was final has stayed."""
    expression = data.draw(some.expressions(1, 2))
    partitions = data.draw(st.integers(1, 2))
    retention = data.draw(st.sampled_from([None, None, 2, 30]))
    key_ttl = data.draw(st.sampled_from([1, 1, 5, 20]))
    try:
        made = plan(_metric(to_text(expression), partitions, key_ttl, retention))
    except ExpressionError:
        return
    feed = data.draw(feeds(expression))
    if not feed.accepted:
        return
    choose = _chooser(data)
    network = Departures(made, choose, data.draw(st.sampled_from([1, 60, 400_000])))
    times = sorted({e.time for e in feed.accepted})
    instants = sorted({t + d for t in times for d in (-1, 0, 2)})
    keys = list({repr(e.key): e.key for e in feed.accepted}.values())
    final: Asked = {}
    for _ in _run(network, feed, data):
        for name in network.workers:
            key, at = keys[choose(len(keys))], instants[choose(len(instants))]
            try:
                answer = network.answer(name, "value_at", {"key": key, "at": at})
            except QuestionError:
                continue
            if answer["final"]:
                final[name, repr(key), at] = (answer["value"], answer["since"])
    whole = Evaluation(parse(made.result.expression))
    whole.add(batch_of(feed.accepted))
    assert not any(worker.cut_off for worker in network.workers.values())
    for name, worker in network.workers.items():
        timeline = whole.timeline(tree := parse(worker.spec.node.expression))
        expected = Reader(timeline, whole.keys, worker.spec.node.kind, tree, unit="us")
        for key in whole.keys.names:
            if not _is_of(network, name, key):
                continue
            for at in instants:
                right = expected.value_at(key, at).model_dump()
                try:
                    found = network.answer(name, "value_at", {"key": key, "at": at})
                except QuestionError as error:
                    if retention is None or "no longer kept" not in str(error):
                        raise
                    continue
                assert _said(found) == _said(right)
                if (name, repr(key), at) in final:
                    assert repr(final[name, repr(key), at]) == repr((right["value"], right["since"]))


def _is_of(network: Network, name: str, key: Any) -> bool:
    return partition_of(key, network.plan.metric.source) == network.specs[name].partition


@settings(max_examples=settings().max_examples // 10)
@given(st.data())
def test_an_aggregate_counts_evicted_keys(data: st.DataObject) -> None:
    """An aggregate keeps every key, however often the workers below it have sent keys away."""
    expression = data.draw(some.aggregates(1, 1))
    feed = data.draw(feeds(expression))
    if not feed.accepted:
        return
    made = plan(_metric(to_text(expression), 2, data.draw(st.sampled_from([1, 5]))))
    choose = _chooser(data)
    network = Departures(made, choose)
    for _ in _run(network, feed, data):
        pass
    whole = Evaluation(expression)
    whole.add(batch_of(feed.accepted))
    node = network.workers[f"{made.result.name}.all"].node
    assert isinstance(node, AggregateNode)
    assert sorted(map(repr, node.groups)) == sorted(map(repr, whole.groups))
    for function in expression.functions:
        for row, group in enumerate(node.groups):
            number = [repr(g) for g in whole.groups].index(repr(group))
            found = pieces_of(node.output(function), row)
            assert shown(found) == shown(pieces_of(whole.aggregate(function), number))
