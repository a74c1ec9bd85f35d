"""A subscriber of an aggregate holds the timelines of its groups, whatever is lost, repeated or restarted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.oracle.events import Event
from tests.properties import strategies as some
from tests.properties.batches import batch_of, pieces_of, shown
from tests.runtime.network import Network
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.nodes.group_names import group_of_key, key_of_group
from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.errors import StateError
from timeline_workers.language.canonical import to_text
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import partition_of, plan
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.edge_messages import InboundEdge, open_message
from timeline_workers.wire.source_progress import watermark

FUNCTIONS = ("count", "sum", "avg", "min", "max")


class Subscriber:
    """A program that is no node and subscribes to one function of an aggregate."""

    def __init__(self, name: str, sender: str, output: str) -> None:
        self.name, self.sender, self.output = name, sender, output
        self.epoch = -1
        self.edge = InboundEdge(sender, 0)
        self.keys = KeyTable()
        self.held: TimelineStore | None = None

    def take(self, payload: bytes) -> None:
        """Take a message that came by the edge."""
        message = open_message(payload)
        assert message["output"] == self.output
        for revision in self.edge.accept(message, self.keys):
            if self.held is None:
                self.held = TimelineStore(revision.suffix.values)
            self.held.replace_suffix(revision.keys, revision.froms, revision.suffix)

    def forget(self) -> None:
        """Be a new program that knows nothing, and keeps counting its epochs."""
        self.edge, self.keys, self.held = InboundEdge(self.sender, 0), KeyTable(), None

    def timelines(self) -> dict[str, Any]:
        """By group, what is held of the groups that have a timeline."""
        found = {}
        for number in () if self.held is None else self.held.known_keys().tolist():
            pieces = pieces_of(self.held.timeline(), number)  # type: ignore[union-attr]
            found[repr(group_of_key(self.keys.names[number]))] = shown(pieces)
        return found


class Subscribed(Network):
    """A network whose aggregate has subscribers, one of each function."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.top = f"{self.plan.result.name}.all"
        names = [*FUNCTIONS, "max"]  # two of one function
        self.subscribers = [Subscriber(f"s{i}", self.top, name) for i, name in enumerate(names)]
        self.flying: list[tuple[int, Subscriber, bytes]] = []

    def step(self) -> None:
        """Let one thing happen, at the edges of the aggregate or elsewhere."""
        if self.choose(2):
            super().step()
            return
        one = self.subscribers[self.choose(len(self.subscribers))]
        match self.choose(5):
            case 0:
                self._open(one)
            case 1:
                self._tell(one)
            case 2 | 3:
                if self.flying:
                    self._hear(self.choose(len(self.flying)))
            case 4:
                one.forget()
                self._open(one)

    def _open(self, one: Subscriber) -> None:
        one.epoch += 1
        self._input(self.top, "subscribe", one.name, f"{one.name}/{one.epoch}", one.output)

    def _tell(self, one: Subscriber) -> bool:
        message = self.workers[self.top].outgoing(one.name, self.message_bytes, one.output)
        if message is not None:
            self.flying.append((self.attempt[self.top], one, message))
        return message is not None

    def _hear(self, index: int) -> None:
        attempt, one, message = self.flying.pop(index)
        for _ in range(1 + self.choose(2)):
            one.take(message)
        if attempt == self.attempt[self.top]:
            self.workers[self.top].delivered(one.name, one.output)

    def _carry_over(self, name: str) -> None:
        super()._carry_over(name)
        if name == self.top:
            self.flying = [f for f in self.flying if self.choose(2)]

    def settle(self) -> None:
        """Let all that is still to happen happen."""
        super().settle()
        for one in self.subscribers:
            if one.epoch < 0:
                self._open(one)
        while any(self._tell(one) for one in self.subscribers) or self.flying:
            while self.flying:
                self._hear(0)


def _metric(expression: str, retention: int | None = None) -> Metric:
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=2)
    return Metric(name="m", source=source, expression=expression, retention=retention)


@settings(max_examples=settings().max_examples // 8)
@given(st.data())
def test_subscribers_of_an_aggregate_hold_its_timelines(data: st.DataObject) -> None:
    """After lost, repeated and delayed messages, kills, restarts and new epochs, each of them all."""
    expression = data.draw(some.aggregates(1, 1))
    events = data.draw(some.event_sets(expression, scale=1, max_size=12))
    events = [replace(e, position=(i % 2, i // 4, i)) for i, e in enumerate(events)]
    choose = lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0  # noqa: E731
    network = Subscribed(
        plan(_metric(to_text(expression))), choose, data.draw(st.sampled_from([1, 60, 400_000]))
    )
    evaluation = Evaluation(expression)
    for cut in (events[i : i + 3] for i in range(0, len(events), 3)):
        last = {e.position[0]: e.position for e in cut}
        network.feed(batch_of(cut), tuple(Progress(p, a, b, None) for p, a, b in last.values()))
        evaluation.add(batch_of(cut))
        for _ in range(data.draw(st.integers(0, 8))):
            network.step()
    network.settle()
    for one in network.subscribers:
        timeline = evaluation.aggregate(one.output)
        wanted = {repr(group): shown(pieces_of(timeline, row)) for row, group in enumerate(evaluation.groups)}
        assert one.timelines() == wanted


def _fed(retention: int | None = None) -> Subscribed:
    metric = _metric(f'has_existed(s == "x") | aggregate(group_by(g), {", ".join(FUNCTIONS)})', retention)
    network = Subscribed(plan(metric), lambda n: 0)
    return network


def _feed(network: Network, place: int, time: int, columns: dict[str, Any], mark: int | None) -> None:
    event = Event(f"k{place % 3}", time, (0, 0, place), columns)
    others = Progress(1, 0, place, mark)
    network.feed(batch_of([event]), (Progress(0, 0, place, mark), others))
    network.settle()


def test_a_late_subscriber_begins_where_rows_are_left() -> None:
    """A worker that forgets early still tells what is pending; a later subscriber begins at what is left."""
    network = _fed()
    for place in range(6):
        _feed(network, place, 10 * place, {"s": "x", "g": place % 2 == 0}, 10 * place)
    worker, first = network.workers[network.top], network.subscribers[0]
    told = first.timelines()
    Network._carry_over(network, network.top)
    worker = network.workers[network.top]
    worker.compact(early=40)
    assert worker.node.answerable_from == 40
    late = Subscriber("late", network.top, "count")
    worker.subscribe("late", "late/0", "count")
    message = worker.outgoing("late", 400_000, "count")
    assert message is not None
    assert open_message(message)["answerable_from"] == 40
    late.take(message)
    assert set(late.timelines()) == set(told)
    for group, pieces in late.timelines().items():
        assert pieces == told[group][-len(pieces) :]
    assert watermark(late.edge.progress) == 50


def test_a_pending_revision_of_an_aggregate_outlives_compaction() -> None:
    network = _fed(retention=0)
    worker = network.workers[network.top]
    for place in range(3):
        _feed(network, place, 10 * place, {"s": "x", "g": "a"}, 10 * place)
    one = network.subscribers[0]
    told = Subscriber("slow", network.top, "count")
    worker.subscribe("slow", "slow/0", "count")
    worker.compact()
    message = worker.outgoing("slow", 400_000, "count")
    assert message is not None
    told.take(message)
    assert told.timelines() == one.timelines()


@pytest.mark.parametrize(
    "group",
    [None, True, False, 0, 1, -(2**63), 0.5, -1.5, 1e300, "", "x", "true", "1", "\0", "\0null", "\0\0x"],
)
def test_group_names_are_reversible_keys(group: Any) -> None:
    key = key_of_group(group)
    assert type(key) in (str, int)
    back = group_of_key(key)
    assert (type(back), back) == (type(group), group)


@given(st.lists(st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=3)))
def test_different_groups_have_different_keys(groups: list[Any]) -> None:
    different = {(type(group), repr(group)) for group in groups}
    assert len({(type(key), key) for key in map(key_of_group, groups)}) == len(different)


def test_a_key_that_stands_for_no_group_is_refused() -> None:
    with pytest.raises(StateError, match="stands for no group"):
        group_of_key("\0nothing")


def test_one_of_several_functions_has_to_be_named() -> None:
    network = _fed()
    worker = network.workers[network.top]
    with pytest.raises(StateError, match="count, sum, avg, min, max: say which"):
        worker.subscribe("s", "s/0")
    with pytest.raises(StateError, match="no output 'mean'"):
        worker.subscribe("s", "s/0", "mean")
    leaf = next(w for name, w in network.workers.items() if network.specs[name].node.is_leaf)
    with pytest.raises(StateError, match="one output"):
        leaf.subscribe("s", "s/0", "count")


def test_the_only_function_needs_no_name() -> None:
    metric = _metric('has_existed(s == "x") | aggregate(group_by(g), count)')
    network = Network(plan(metric), lambda n: 0)
    top = f"{network.plan.result.name}.all"
    worker = network.workers[top]
    worker.subscribe("s", "s/0")
    worker.subscribe("s", "s/0", "count")
    again = NodeWorker.restore(network.specs[top], worker.snapshot(1 << 20))
    assert again.subscribers() == ["s"]
    assert [edge.output for edge in again.outbound.values()] == ["", "count"]
    again.unsubscribe("s", "count")
    assert [edge.output for edge in again.outbound.values()] == [""]
    again.unsubscribe("s")
    assert again.subscribers() == []


def test_a_message_is_told_of_though_nothing_settled_it() -> None:
    """What one message changes and the next takes back is told, where there is a subscriber."""
    network = _fed()
    top = network.workers[network.top]
    top.subscribe("s", "s/0", "count")
    leaves = [name for name, spec in network.specs.items() if spec.node.is_leaf and spec.partition == "p0"]
    for name in leaves:
        network.workers[name].subscribe(network.top, f"{network.top}/0")
    key = next(k for k in map(str, range(99)) if partition_of(k, network.plan.metric.source) == "p0")
    event = Event(key, 5, (0, 0, 0), {"s": "x", "g": "a"})
    network.feed(batch_of([event]), (Progress(0, 0, 0, 5),))
    for name, queue in network.feeds.items():
        while queue:
            network.workers[name].ingest(queue.popleft())
    for name, worker in network.workers.items():
        if network.specs[name].node.is_leaf and network.top in worker.subscribers():
            message = worker.outgoing(network.top, 400_000)
            if message is not None:
                top.receive(message, settle=False)
    told = top.edge("s", "count")
    assert told is not None
    assert len(told.pending.marked()) == 1
