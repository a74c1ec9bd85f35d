"""Nodes that one worker computes for all answer, by name, as workers of their own would: whatever is late,
repeated, delayed, forgotten, sent away or killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings, strategies as st

from tests.oracle.events import Event
from tests.properties import strategies as some
from tests.properties.batches import batch_of
from tests.runtime import test_compaction as compacting, test_eviction as departures
from tests.runtime.network import Choose, Network
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.nodes.fused import FusedNode
from timeline_workers.answers.reader import Reader
from timeline_workers.errors import ExpressionError, QuestionError, StateError
from timeline_workers.language.canonical import to_text
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import (
    NodeSpec,
    Plan,
    host,
    inner_nodes,
    is_global,
    partition_of,
    plan,
    worker_id,
    worker_name,
)
from timeline_workers.runtime.node_worker import NodeWorker


def _plan(expression: Any, fuse: bool = True, partitions: int = 1, **bounds: int | None) -> Plan:
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=partitions)
    text = expression if isinstance(expression, str) else to_text(expression)
    return plan(
        Metric.model_validate(
            {"name": "m", "source": source, "expression": text, "fuse": fuse}
            | {name: value for name, value in bounds.items() if value is not None}
        )
    )


def _drawn(data: st.DataObject, expression: Any, **bounds: int | None) -> Plan:
    """A plan in which one worker computes several nodes."""
    try:
        made = _plan(expression, partitions=data.draw(st.integers(1, 2)), **bounds)
    except ExpressionError:
        assume(False)
    assume(inner_nodes(made))
    return made


def _chooser(data: st.DataObject) -> Choose:
    return lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0


def _questions(made: Plan, keys: list[Any]) -> Iterator[tuple[NodeSpec, str, Any]]:
    """Every node but aggregates, with every key and the worker that answers for it."""
    for node in made.nodes:
        for key in keys if not is_global(node) else ():
            yield node, worker_id(worker_name(made, node), partition_of(key, made.metric.source)), key


def _keys(events: list[Event]) -> list[Any]:
    return list({repr(e.key): e.key for e in events}.values())


def _instants(events: list[Event]) -> list[int]:
    return sorted({e.time + d for e in events for d in (-1, 0, 2, 9)})


@settings(max_examples=settings().max_examples // 4)  # each example is two networks
@given(st.data())
def test_fused_and_unfused_networks_answer_the_same(data: st.DataObject) -> None:
    """Every question about every node and key, finality included."""
    expression = data.draw(st.one_of(some.expressions(1, 3), some.aggregates(1, 2)))
    made = _drawn(data, expression)
    apart = plan(made.metric.model_copy(update={"fuse": False}))
    feed = data.draw(compacting.feeds(expression))
    assume(feed.accepted)
    choose, limit = _chooser(data), data.draw(st.sampled_from([1, 60, 400_000]))
    networks = [Network(p, choose, limit) for p in (made, apart)]
    for batch, progress in feed.batches:
        for network in networks:
            network.feed(batch_of(batch), progress)
            for _ in range(data.draw(st.integers(0, 6))):
                network.step()
    for network in networks:
        network.settle()
    fused, unfused = networks
    assert len(fused.workers) < len(unfused.workers)
    times = _instants(feed.accepted)
    questions: list[tuple[str, dict[str, Any]]] = [
        ("value_at", {"at": times}),
        ("spans", {"start": times[0], "end": times[-1]}),
        ("change", {"start": times[len(times) // 2], "end": times[-1]}),
        ("change", {"start": times[0], "end": times[-1], "every": "7us"}),
    ]
    for node, name, key in _questions(made, _keys(feed.accepted)):
        own = worker_id(node.name, partition_of(key, made.metric.source))
        for kind, question in questions:
            asked = {"key": key, **question}
            answer = fused.workers[name].ask(kind, {**asked, "node": node.name})
            assert repr(answer) == repr(unfused.workers[own].ask(kind, asked))
    if is_global(made.result):
        results = [network.workers[f"{made.result.name}.all"] for network in networks]
        assert {repr(g) for g in results[0].keys({})["keys"]} == {
            repr(g) for g in results[1].keys({})["keys"]
        }
        for group in results[0].keys({})["keys"]:
            said = [
                r.ask("value_at", {"key": group, "at": times, "aggregate": f})
                for r in results
                for f in ("count", "sum")
            ]
            assert repr(said[:2]) == repr(said[2:])


@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_fused_nodes_that_forget_answer_as_if_they_remembered(data: st.DataObject) -> None:
    """Whatever is compacted when, and whichever edges begin anew: what is within the retention is answered
    rightly, what is not is refused or right, and what was final has stayed."""
    expression = data.draw(some.expressions(1, 3))
    retention = data.draw(st.one_of(st.none(), st.integers(0, 12)))
    made = _drawn(data, expression, retention=retention)
    feed = data.draw(compacting.feeds(expression))
    assume(feed.accepted)
    times = _instants(feed.accepted)
    early = data.draw(st.sampled_from([[], [], [times[0] + 4, times[0] + 15]]))
    network = Network(made, _chooser(data), data.draw(st.sampled_from([1, 60, 400_000])), early)
    for pair in list(network.unsubscribed):
        network._subscribe(pair)
    final: dict[tuple[str, str, int], str] = {}
    asked = list(_questions(made, _keys(feed.accepted)))
    for _ in compacting._run(network, feed, data):
        for node, name, key in asked:
            at = times[network.choose(len(times))]
            try:
                answer: Any = network.workers[name].ask("value_at", {"key": key, "at": at, "node": node.name})
            except QuestionError:
                continue
            if answer["final"]:
                final[node.name, repr(key), at] = _said(answer)
    whole = Evaluation(parse(made.result.expression))
    whole.add(batch_of(feed.accepted))
    for node, name, key in asked:
        worker = network.workers[name]
        right = Reader(whole.timeline(tree := parse(node.expression)), whole.keys, node.kind, tree, unit="us")
        for at in times:
            expected = _said(right.value_at(key, at).model_dump())
            assert final.get((node.name, repr(key), at), expected) == expected
            if name in compacting._incomplete(network):
                continue
            try:
                answer = worker.ask("value_at", {"key": key, "at": at, "node": node.name})
            except QuestionError as error:
                mark = worker.status()["watermark"]
                if early or (retention is not None and at < mark - retention):
                    continue
                raise AssertionError(f"{node.name} at {at}, watermark {mark}") from error
            assert _said(answer) == expected


@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_keys_leave_fused_nodes_and_come_back(data: st.DataObject) -> None:
    """Every node answers for every key as if it had stayed, from the worker or an archive."""
    expression = data.draw(some.expressions(1, 3))
    made = _drawn(data, expression, key_ttl=data.draw(st.sampled_from([1, 1, 5, 20])))
    feed = data.draw(departures.feeds(expression))
    assume(feed.accepted)
    network = departures.Departures(made, _chooser(data), data.draw(st.sampled_from([1, 60, 400_000])))
    for _ in departures._run(network, feed, data):
        pass
    whole = Evaluation(parse(made.result.expression))
    whole.add(batch_of(feed.accepted))
    for node, name, key in _questions(made, whole.keys.names):
        right = Reader(whole.timeline(tree := parse(node.expression)), whole.keys, node.kind, tree, unit="us")
        for at in _instants(feed.accepted):
            answer = network.answer(name, "value_at", {"key": key, "at": at, "node": node.name})
            assert _said(answer) == _said(right.value_at(key, at).model_dump())


def _said(answer: Any) -> str:
    return repr((answer["value"], answer["since"], answer.get("slope")))


ROWS = [(5, "s", "x"), (8, "b", "y"), (11, "s", "z"), (12, "b", "y"), (14, "s", "x"), (19, "b", "n")]
NESTED = 'duration_where(latest_event_to_state(s) == "x" && !has_existed_within(b == "y", 5us))'


def _fed(made: Plan) -> tuple[Network, NodeWorker]:
    network = Network(made, lambda n: 0)
    events = [Event("a", 5, (0, 0, 1), {"s": "x"}), Event("a", 9, (0, 0, 2), {"b": "y"})]
    network.feed(batch_of(events), (Progress(0, 0, 2, 7),))
    network.settle()
    top = host(made)
    assert top is not None
    return network, network.workers[worker_id(worker_name(made, top), "p0")]


def test_the_status_names_every_node() -> None:
    """What it computes, holds, and how far it is; the worker's own node is the last."""
    made = _plan(NESTED)
    _, worker = _fed(made)
    nodes = worker.status()["nodes"]
    assert list(nodes) == [n.name for n in made.nodes if not n.is_leaf]
    assert {n.name: n.expression for n in made.nodes if n.name in nodes} == {
        name: node["expression"] for name, node in nodes.items()
    }
    assert {node["watermark"] for node in nodes.values()} == {7}


def test_a_node_of_another_worker_is_named() -> None:
    """Also by a worker that computes one node only, which knows its own name."""
    made = _plan(NESTED)
    network, worker = _fed(made)
    inner = inner_nodes(made)[0].name
    with pytest.raises(QuestionError, match=f"did you mean {inner!r}"):
        worker.ask("value_at", {"key": "a", "at": 9, "node": f"{inner}x"})
    with pytest.raises(QuestionError, match="no node 5"):
        worker.keys({"node": 5})
    leaf = next(n for n in made.nodes if n.is_leaf)
    single = network.workers[worker_id(leaf.name, "p0")]
    assert single.keys({"node": leaf.name}) == single.keys({})
    with pytest.raises(QuestionError, match="no node"):
        single.ask("value_at", {"key": "a", "at": 9, "node": inner})


def test_a_node_is_final_as_its_leaves_are() -> None:
    """A leaf that lags keeps only those answers from being final that rest on it."""
    made = _plan(NESTED)
    network, worker = _fed(made)
    leaves = {n.columns[0]: worker_id(n.name, "p0") for n in made.nodes if n.is_leaf}
    network.feed(batch_of([Event("a", 20, (0, 0, 3), {"s": "z"})]), (Progress(0, 0, 3, 18),))
    network.feeds[leaves["b"]].clear()
    network.settle()
    final = {
        node.expression: worker.ask("value_at", {"key": "a", "at": 15, "node": node.name})["final"]  # type: ignore[call-overload]
        for node in made.nodes
        if not node.is_leaf
    }
    assert [text for text, is_final in final.items() if is_final] == ['latest_event_to_state(s) == "x"']


def test_carried_state_of_other_nodes_is_refused() -> None:
    """The worker of the same node without `fuse` has another id, and so another state."""
    _, worker = _fed(_plan(NESTED))
    apart = _plan(NESTED, fuse=False)
    other = next(s for s in Network(apart, lambda n: 0).specs.values() if s.node == apart.result)
    assert isinstance(worker.node, FusedNode)
    with pytest.raises(StateError, match="not of"):
        NodeWorker.restore(other, worker.snapshot(1 << 20))


@pytest.mark.parametrize("column", ["s", "b"])
def test_a_leaf_begun_anew_replaces_what_it_told_before(column: str) -> None:
    """As between workers of their own: what is final stays, the rest is what the leaf says now."""
    said = []
    for fuse in (True, False):
        made = _plan(NESTED, fuse=fuse)
        network = Network(made, lambda n: 0)
        events = [Event(key, at, (0, 0, at), {c: v}) for key in "ab" for at, c, v in ROWS]
        network.feed(batch_of(events), (Progress(0, 0, 20, 7),))
        network.settle()
        leaf = next(worker_id(n.name, "p0") for n in made.nodes if column in n.columns)
        network.workers[leaf] = NodeWorker(network.specs[leaf])
        network.feed(batch_of([Event("a", 30, (0, 0, 30), {"s": "x", "b": "y"})]), (Progress(0, 0, 30, 9),))
        for name, spec in network.specs.items():
            if (leaf,) in spec.inputs:
                network.workers[leaf].subscribe(name, "again")
        network.settle()
        said.append(
            [
                network.workers[name].ask("value_at", {"key": key, "at": list(range(40)), "node": node.name})
                for node, name, key in _questions(made, ["a", "b"])
                if not node.is_leaf
            ]
        )
    assert said[0] == said[1]


def test_a_late_worker_knows_which_nodes_lack_what() -> None:
    """Where a leaf has forgotten its past, the nodes that rest on it begin there, and no others."""
    made = _plan(NESTED, retention=2)
    network = Network(made, lambda n: 0)
    joining, network.unsubscribed = network.unsubscribed, []
    network.feed(
        batch_of([Event("a", at, (0, 0, at), {c: v}) for at, c, v in ROWS]), (Progress(0, 0, 20, 18),)
    )
    network.settle()
    leaf = next(worker_id(n.name, "p0") for n in made.nodes if "s" in n.columns)
    network._input(leaf, "compact", None)
    assert network.workers[leaf].status()["answerable_from"] == 16
    network.unsubscribed = joining
    network.settle()
    top = host(made)
    assert top is not None
    worker = network.workers[worker_id(worker_name(made, top), "p0")]
    for restored in (worker, NodeWorker.restore(worker.spec, worker.snapshot(1 << 20))):
        nodes = restored.status()["nodes"].values()
        since = {node["expression"]: node["answerable_from"] for node in nodes}
        assert since.pop('!has_existed_within(b == "y", 5us)') is None
        assert set(since.values()) == {16}
        with pytest.raises(QuestionError, match="no longer kept"):
            restored.ask("value_at", {"key": "a", "at": 6})
