"""A worker restored from its carried state is the same worker; its state levels off when it compacts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.oracle.events import Event
from tests.properties import strategies as some
from tests.properties.batches import batch_of, pieces_of, shown
from tests.runtime.network import Network
from tests.runtime.test_compaction import feeds
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.nodes.key_rows import AggregateRows, DerivedRows, LeafRows
from timeline_workers.errors import ExpressionError, StateError
from timeline_workers.language.canonical import to_text
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import WorkerSpec, plan
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.edge_messages import open_message
from timeline_workers.wire.encoding import pack, unpack

STATES = Path(__file__).parent / "states"


def _metric(expression: str, partitions: int = 1, retention: int | None = None) -> Metric:
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=partitions)
    return Metric(name="m", source=source, expression=expression, retention=retention)


class _Twins(Network):
    """A network in which every worker has a twin that is restored from its state again and again: what the
    two say must be the same."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.twins = {name: NodeWorker(spec) for name, spec in self.specs.items()}

    def _input(self, name: str, method: str, *arguments: Any) -> None:
        super()._input(name, method, *arguments)
        getattr(self.twins[name], method)(*arguments)
        if self.choose(2):
            # In flight, and to be said again after a restart: that is what the network's own steps test.
            flying = {s: edge.in_flight for s, edge in self.twins[name].outbound.items()}
            self.twins[name] = NodeWorker.restore(
                self.specs[name], self.twins[name].snapshot(1 + 99 * self.choose(2))
            )
            for subscriber, edge in self.twins[name].outbound.items():
                assert edge.in_flight == flying[subscriber]
                edge.resend = False
        one, other = self.workers[name].status(), self.twins[name].status()
        for status in (one, other):
            del status["bytes"]
        assert one == other
        held, again = self.workers[name].node.copy_all(), self.twins[name].node.copy_all()
        if isinstance(held, DerivedRows):
            assert isinstance(again, DerivedRows)
            assert held.stale.tolist() == again.stale.tolist()
        if isinstance(held, AggregateRows):
            assert isinstance(again, AggregateRows)
            assert held.since == again.since
        if isinstance(held, LeafRows):
            assert isinstance(again, LeafRows)
            assert [held.origins.tolist(), held.seen.tolist()] == [
                again.origins.tolist(),
                again.seen.tolist(),
            ]

    def _send(self, name: str) -> None:
        before = len(self.on_their_way)
        super()._send(name)
        for _, _, subscriber, message in self.on_their_way[before:]:
            said = self.twins[name].outgoing(subscriber, self.message_bytes)
            assert said is not None
            assert _shown(said) == _shown(message)

    def _arrive(self, index: int) -> None:
        sender, _, subscriber, _ = self.on_their_way[index]
        super()._arrive(index)
        self.twins[sender].delivered(subscriber)

    def step(self) -> None:
        """Feed, send, arrive, compact or subscribe; the workers themselves are never restored here."""
        possible: list[Any] = [lambda n=n: self._feed_leaf(n) for n, queue in self.feeds.items() if queue]
        possible += [lambda name=name: self._send(name) for name in self.workers]
        possible += [lambda i=i: self._arrive(i) for i in range(len(self.on_their_way))]
        possible += [lambda name=name: self._fold(name) for name in self.workers]
        possible += [lambda pair=pair: self._subscribe(pair) for pair in self.epochs]
        possible[self.choose(len(possible))]()


def _shown(payload: bytes) -> dict[str, Any]:
    message = open_message(payload)
    suffix = message.pop("suffix")
    rows = [shown(pieces_of(suffix, row)) for row in range(suffix.keys)]
    return {**message, "keys": message["keys"].tolist(), "froms": message["froms"].tolist(), "suffix": rows}


@settings(max_examples=settings().max_examples // 8)
@given(st.data())
def test_a_restored_worker_answers_like_the_original(data: st.DataObject) -> None:
    """Whatever was compacted before, and however often and at whatever moment it is restored."""
    expression = data.draw(st.one_of(some.expressions(1, 2), some.aggregates(1, 1)))
    retention = data.draw(st.one_of(st.none(), st.integers(0, 12)))
    try:
        made = plan(_metric(to_text(expression), 1, retention))
    except ExpressionError:
        return
    feed = data.draw(feeds(expression, max_size=12))
    choose = lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0  # noqa: E731
    network = _Twins(made, choose, data.draw(st.sampled_from([60, 400_000])), [])
    for pair in list(network.unsubscribed):
        network._subscribe(pair)
    for batch, progress in feed.batches:
        network.feed(batch_of(batch), progress)
        for _ in range(data.draw(st.integers(0, 8))):
            network.step()
        if data.draw(st.booleans()):
            network.settle()
            for name in network.workers:
                network._fold(name)
    network.settle()
    for name, worker in network.workers.items():
        assert worker.node.compacted == network.twins[name].node.compacted
        held, again = (
            [output for part in one.node.parts() for output in part.outputs.values()]
            for one in (worker, network.twins[name])
        )
        for output, other in zip(held, again, strict=True):
            one, two = output.timeline(), other.timeline()
            for row in range(max(one.keys, two.keys)):
                assert shown(pieces_of(one, row)) == shown(pieces_of(two, row))


@settings(max_examples=settings().max_examples // 20)
@given(st.data())
def test_the_state_of_few_keys_levels_off(data: st.DataObject) -> None:
    """Rows are bounded by what happens within the look-back and the retention, however long it goes on, and
    so are the bytes that are carried."""
    expression = data.draw(some.expressions(1, 2))
    retention = data.draw(st.integers(0, 20))
    try:
        made = plan(_metric(to_text(expression), 1, retention))
    except ExpressionError:
        return
    column = data.draw(st.sampled_from(sorted(some.columns_of(expression))))
    values = {"string": ["x", "y"], "number": [1, 2.5], "bool": [True, False], "any": ["x", 1]}
    network = Network(made, lambda n: 0)
    network.settle()
    keys, rows, sizes = ["a", "b", "c"], [], []
    for round_ in range(12):
        at = round_ * 40
        events = [
            Event(keys[i % 3], at + i, (0, 0, at + i), {column: values[some.COLUMNS[column]][i // 3 % 2]})
            for i in range(40)
        ]
        network.feed(batch_of(events), (Progress(0, 0, at + 39, at + 35),))
        network.settle()
        for name in network.workers:
            network.workers[name].compact()
            network._carry_over(name)
        states = [worker.status() for worker in network.workers.values()]
        rows.append([s["change_points"] + s["input_change_points"] + s["events"] for s in states])
        sizes.append(sum(len(part) for w in network.workers.values() for part in w.snapshot(1 << 20)))
    # The first rounds fill the look-back and the retention; after that each round is like the last.
    assert max(map(max, rows[6:])) <= max(map(max, rows[:6]))
    assert max(sizes[6:]) < 1.25 * max(sizes[:6]) + 200 * len(network.workers)


# What releases have left behind.


def _states() -> list[Any]:
    return [
        pytest.param(case, id=f"{file.stem}-{case['name']}")
        for file in sorted(STATES.glob("*.json"))
        for case in json.loads(file.read_text())
    ]


@pytest.mark.parametrize("case", _states())
def test_a_state_of_an_earlier_release_is_read(case: dict[str, Any]) -> None:
    """The worker answers as it did, is as far, sends what it still had to send, and goes on exactly: with
    the inputs that came afterwards it says what it would have said without the upgrade."""
    spec = WorkerSpec.model_validate(case["spec"])
    worker = NodeWorker.restore(spec, [base64.b64decode(case["state"])])
    _check_answers(worker, case["before"])
    for subscriber, message in case["sends"].items():
        assert (sent := worker.outgoing(subscriber, 400_000, worker.output_told(subscriber))) is not None
        assert sent == base64.b64decode(message)
    again = NodeWorker.restore(spec, worker.snapshot(1 << 20))
    for method, payload in case["inputs"]:
        for one in (worker, again):
            getattr(one, method)(base64.b64decode(payload))
    for one in (worker, again):
        _check_answers(one, case["after"])
        one.compact()
        _check_answers(one, case["after"])


def _check_answers(worker: NodeWorker, expected: dict[str, Any]) -> None:
    progress = worker.status()["progress"]
    # Later releases say more of each partition.
    assert [
        {field: now[field] for field in then}
        for now, then in zip(progress, expected["progress"], strict=True)
    ] == expected["progress"]
    for question, answer in expected["answers"]:
        assert worker.ask("value_at", question) == answer
    assert sorted(worker.keys({})["keys"], key=repr) == expected["keys"]


def test_a_state_of_unknown_version_is_refused() -> None:
    """The error names the version, those that can be read, and what to do."""
    spec = WorkerSpec.model_validate(_states()[0].values[0]["spec"])
    state = unpack(NodeWorker(spec).snapshot(1 << 20)[0])
    for version in (0, 99, None, "2"):
        with pytest.raises(
            StateError, match=rf"version {version!r}; this release reads 1, 2: run the release"
        ):
            NodeWorker.restore(spec, [pack({**state, "version": version})])


def test_a_state_of_foreign_parts_is_refused() -> None:
    """Never a worker with half of its keys."""
    spec = WorkerSpec.model_validate(_states()[0].values[0]["spec"])
    state = unpack(NodeWorker(spec).snapshot(1 << 20)[0])
    with pytest.raises(StateError, match="names 1 keys and holds rows of 0"):
        NodeWorker.restore(spec, [pack({**state, "keys": ["a"]})])
    with pytest.raises(StateError, match="not rows of a leaf: KeyError"):
        NodeWorker.restore(spec, [pack({**state, "rows": {}})])
