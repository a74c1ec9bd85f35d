"""Workers that forget what lies below the watermark give the answers of workers that remember everything,
refuse what they have forgotten, and never take back what was final."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, note, settings, strategies as st

from tests.oracle.events import Event, keys_of
from tests.properties import strategies as some
from tests.properties.batches import batch_of, pieces_of, shown
from tests.runtime.network import Network
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.nodes.aggregate import AggregateNode
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.answers.reader import Reader
from timeline_workers.errors import ExpressionError, QuestionError
from timeline_workers.language.canonical import to_text
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan
from timeline_workers.runtime.node_worker import NodeWorker


def _metric(expression: str, partitions: int = 1, retention: int | None = None) -> Metric:
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=partitions)
    return Metric(name="m", source=source, expression=expression, retention=retention)


@dataclass
class _Feed:
    """Batches of accepted events with the progress of two source partitions after each: an event below the
    watermark of its partition is late, and not among them."""

    batches: list[tuple[list[Event], tuple[Progress, ...]]]

    @property
    def accepted(self) -> list[Event]:
        return [event for batch, _ in self.batches for event in batch]


@st.composite
def feeds(draw: st.DrawFn, expression: Any, max_size: int = 20) -> _Feed:
    """Events out of order, near watermarks that go up now and then, one at a time or both."""
    raw = draw(some.event_sets(expression, scale=1, max_size=max_size))
    first = min(e.time for e in raw)
    marks: list[int | None] = [None, None]
    batches = []
    for start in range(0, len(raw), 2):
        accepted = []
        for i, event in enumerate(raw[start : start + 2], start):
            mark = marks[i % 2]
            time = (first if mark is None else mark) + (event.time - first) % 7
            accepted.append(replace(event, time=time, position=(i % 2, 0, 10 * i)))
        for partition in (0, 1):
            mark = marks[partition]
            step = draw(st.sampled_from([None, 0, 1, 2, 3, 6]))
            if step is not None:
                marks[partition] = (first if mark is None else mark) + step
        progress = tuple(Progress(p, 0, 10 * start + 15, marks[p]) for p in (0, 1))
        batches.append((accepted, progress))
    return _Feed(batches)


def _remembers(expression: str, events: list[Event]) -> Evaluation:
    evaluation = Evaluation(parse(expression))
    evaluation.add(batch_of(events))
    return evaluation


def _run(network: Network, feed: _Feed, data: st.DataObject) -> Iterator[None]:
    """Feed the network, let things happen and workers compact; yields now and then, and at last when all has
    settled."""
    for batch, progress in feed.batches:
        network.feed(batch_of(batch), progress)
        for _ in range(data.draw(st.integers(0, 6))):
            network.step()
            yield
        if data.draw(st.booleans()):
            network.settle()
            yield
        for name in network.workers:
            what = data.draw(st.integers(0, 3))
            if what:
                network._fold(name)
            if what == 2:
                network._carry_over(name)
        if data.draw(st.integers(0, 3)) == 3:
            network._subscribe(data.draw(st.sampled_from(list(network.epochs)))) if network.epochs else None
    for _ in range(data.draw(st.integers(0, 10))):
        network.step()
        yield
    network.settle()
    yield


def _incomplete(network: Network) -> set[str]:
    """Workers that have been cut off from an input, and those above them: they stay behind."""
    behind = {name for name, worker in network.workers.items() if worker.cut_off}
    while True:
        above = {n for n, s in network.specs.items() if any(behind & set(slot) for slot in s.inputs)} - behind
        if not above:
            return behind
        behind |= above


def _kept(held: Timeline, row: int, since: int | None, expected: Any) -> None:
    """What is held is the end of what is expected, and all of it that anyone may ask for."""
    found, all_of_it = shown(pieces_of(held, row)), shown(expected)
    assert found
    assert found == all_of_it[len(all_of_it) - len(found) :]
    if len(found) < len(all_of_it):
        assert since is not None
        assert found[0][0] < since


Asked = dict[tuple[str, str, int], tuple[Any, ...]]


def _ask_what_is_final(network: Network, instants: list[int], answers: Asked) -> None:
    for name, worker in network.workers.items():
        if isinstance(worker.node, AggregateNode):
            continue
        mark = worker.status()["watermark"]
        for key in worker.node.keys.names:
            for at in instants:
                if mark is None or at >= mark:
                    continue
                row, since = worker.node.keys.index[key], worker.node.answerable_from
                pieces = pieces_of(worker.node.output.timeline(), row)
                if since is not None and pieces and at < pieces[0].start < since:
                    with pytest.raises(QuestionError, match="no longer kept"):
                        worker.ask("value_at", {"key": key, "at": at})
                    continue
                answer = worker.ask("value_at", {"key": key, "at": at})
                assert isinstance(answer, dict)
                assert answer["final"]
                said = (answer["value"], answer["since"], answer.get("slope"))
                assert repr(answers.setdefault((name, repr(key), at), said)) == repr(said)


def _ask_changes(worker: NodeWorker, right: Reader, key: Any, instants: list[int]) -> None:
    """Over every range the change is that of the whole timeline, or refused where something is forgotten."""
    for start, end in combinations(instants, 2):
        try:
            said = worker.ask("change", {"key": key, "start": start, "end": end, "unit": "us"})
        except QuestionError as error:
            since = worker.node.answerable_from
            if "no longer kept" not in str(error) or since is None or start > since:
                raise
            continue
        assert isinstance(said, dict)
        said.pop("final", None)
        assert repr(said) == repr(right.change(key, start, end).model_dump())


@settings(max_examples=settings().max_examples // 4)  # each example is a whole network
@given(st.data())
def test_workers_that_forget_answer_as_if_they_remembered(data: st.DataObject) -> None:
    """Whatever is compacted when, with any retention, and whichever edges begin anew: what is held at the end
    is the end of the in-process timeline, everything below is refused, and what was final has stayed."""
    expression = data.draw(some.expressions(1, 2))
    partitions = data.draw(st.integers(1, 2))
    retention = data.draw(st.one_of(st.none(), st.integers(0, 12)))
    try:
        made = plan(_metric(to_text(expression), partitions, retention))
    except ExpressionError:
        return
    feed = data.draw(feeds(expression))
    if not feed.accepted:
        return
    first = min(e.time for e in feed.accepted)
    instants = list(range(first - 1, first + 26, 3))
    early = data.draw(st.sampled_from([[], [first + 4, first + 15]]))
    choose = lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0  # noqa: E731
    network = Network(made, choose, data.draw(st.sampled_from([1, 60, 400_000])), early)
    for pair in list(network.unsubscribed):
        network._subscribe(pair)
    answers: Asked = {}
    for _ in _run(network, feed, data):
        _ask_what_is_final(network, instants, answers)
    whole = _remembers(made.result.expression, feed.accepted)
    behind = _incomplete(network)
    for name, worker in network.workers.items():
        assert not isinstance(worker.node, AggregateNode)
        timeline = whole.timeline(tree := parse(network.specs[name].node.expression))
        reader = Reader(timeline, whole.keys, worker.spec.node.kind, tree, unit="us")
        for row, key in enumerate(worker.node.keys.names):
            note(f"{name} {key!r} {worker.status()}")
            for at in instants:
                said = answers.get((name, repr(key), at))
                if said is not None:
                    expected = reader.value_at(key, at)
                    assert repr(said) == repr(
                        (expected.value, expected.since, expected.model_dump().get("slope"))
                    )
            if name in behind:
                continue
            held = worker.node.output.timeline()
            kept = pieces_of(held, row)[:2]
            _ask_changes(worker, reader, key, sorted({*instants[::3], *(piece.start for piece in kept)}))
            _kept(held, row, worker.node.answerable_from, pieces_of(timeline, whole.keys.index[key]))
    if not behind:
        for node in network.plan.nodes:
            known = [
                k for n, w in network.workers.items() if n.startswith(node.name) for k in w.node.keys.names
            ]
            assert sorted(map(repr, known)) == sorted(map(repr, keys_of(feed.accepted)))


@settings(max_examples=settings().max_examples // 8)
@given(st.data())
def test_a_compacted_aggregate_has_the_same_groups(data: st.DataObject) -> None:
    """For every group and function; groups that once had a key are kept whatever is compacted."""
    expression = data.draw(some.aggregates(1, 1))
    retention = data.draw(st.one_of(st.none(), st.integers(0, 12)))
    feed = data.draw(feeds(expression))
    if not feed.accepted:
        return
    made = plan(_metric(to_text(expression), 2, retention))
    choose = lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0  # noqa: E731
    network = Network(made, choose, compacting=[])
    for pair in list(network.unsubscribed):
        network._subscribe(pair)
    for _ in _run(network, feed, data):
        pass
    if _incomplete(network):
        return
    whole = _remembers(made.result.expression, feed.accepted)
    node = network.workers[f"{made.result.name}.all"].node
    assert isinstance(node, AggregateNode)
    assert sorted(map(repr, node.groups)) == sorted(map(repr, whole.groups))
    for function in expression.functions:
        for row, group in enumerate(node.groups):
            number = [repr(g) for g in whole.groups].index(repr(group))
            expected = pieces_of(whole.aggregate(function), number)
            _kept(node.output(function), row, node.answerable_from, expected)
