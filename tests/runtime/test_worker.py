"""Workers connected without Temporal give the in-process answers, whatever is repeated, delayed or carried
over."""

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
from timeline_workers.algebra.nodes.aggregate import AggregateNode
from timeline_workers.algebra.nodes.node import DerivedNode, EventNode
from timeline_workers.columns.event_batch import EventBatch
from timeline_workers.errors import ExpressionError, QuestionError, StateError, UnknownNameError
from timeline_workers.language.canonical import to_text
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan
from timeline_workers.runtime.node_worker import NodeWorker


def _metric(expression: str, partitions: int) -> Metric:
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=partitions)
    return Metric(name="m", source=source, expression=expression)


def _run(
    data: st.DataObject, expression: Any, partitions: int, limit: int
) -> tuple[Network, list[EventBatch]]:
    scale = 1
    events = data.draw(some.event_sets(expression, scale=scale, max_size=12))
    # Within a partition positions ascend in the order of arrival, as a broker's do.
    events = [replace(e, position=(i % 2, i // 4, i)) for i, e in enumerate(events)]
    network = Network(
        plan(_metric(to_text(expression), partitions)),
        lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0,
        limit,
    )
    cuts = [events[i : i + 3] for i in range(0, len(events), 3)]
    for cut in cuts:
        last = {e.position[0]: e.position for e in cut}
        network.feed(batch_of(cut), tuple(Progress(p, a, b, None) for p, a, b in last.values()))
        for _ in range(data.draw(st.integers(0, 6))):
            network.step()
    for _ in range(data.draw(st.integers(0, 20))):
        network.step()
    network.settle()
    return network, [batch_of(cut) for cut in cuts]


@settings(max_examples=settings().max_examples // 10)  # each example is a whole network
@given(st.data())
def test_every_worker_ends_with_the_in_process_timelines(data: st.DataObject) -> None:
    """With repeated and delayed messages, late subscriptions, tiny messages and carried state in the
    middle."""
    expression = data.draw(some.expressions(1, 2))
    partitions = data.draw(st.integers(1, 2))
    try:
        plan(_metric(to_text(expression), partitions))
    except ExpressionError:
        return
    network, batches = _run(data, expression, partitions, data.draw(st.sampled_from([1, 60, 400_000])))
    canonical = Evaluation(parse(network.plan.result.expression))
    for batch in batches:
        canonical.add(batch)
    for name, worker in network.workers.items():
        assert all(e["pending_keys"] == 0 for e in worker.status()["edges"])
        timeline = canonical.timeline(parse(network.specs[name].node.expression))
        assert isinstance(worker.node, EventNode | DerivedNode)
        for row, key in enumerate(worker.node.keys.names):
            found = pieces_of(worker.node.output.timeline(), row)
            assert shown(found) == shown(pieces_of(timeline, canonical.keys.index[key]))
    for node in network.plan.nodes:
        known = [k for n, w in network.workers.items() if n.startswith(node.name) for k in w.node.keys.names]
        assert sorted(map(repr, known)) == sorted(map(repr, canonical.keys.names))


@settings(max_examples=settings().max_examples // 10)
@given(st.data())
def test_an_aggregate_hears_every_partition(data: st.DataObject) -> None:
    """The groups of an aggregate over two partitions are those of one."""
    expression = data.draw(some.aggregates(1, 1))
    network, batches = _run(data, expression, 2, 400_000)
    evaluation = Evaluation(expression)
    for batch in batches:
        evaluation.add(batch)
    worker = network.workers[f"{network.plan.result.name}.all"]
    node = worker.node
    assert isinstance(node, AggregateNode)
    assert sorted(map(repr, node.groups)) == sorted(map(repr, evaluation.groups))
    for function in expression.functions:
        for row, group in enumerate(node.groups):
            number = [repr(g) for g in evaluation.groups].index(repr(group))
            found = pieces_of(node.output(function), row)
            assert shown(found) == shown(pieces_of(evaluation.aggregate(function), number))
            for piece in found:
                asked = {"key": group, "at": piece.start, "aggregate": function, "unit": "us"}
                answer = worker.ask("value_at", asked)
                assert isinstance(answer, dict)
                assert answer["since"] == piece.start


def test_a_group_gone_shifts_no_other() -> None:
    """A later position at the same instant takes a group's only key away; the other answers for itself."""
    metric = _metric('latest_event_to_state(s) == "x" | aggregate(group_by(g), count)', 1)
    network = Network(plan(metric), lambda n: 0)
    for place, group in enumerate("ab"):
        event = Event("k", 10, (0, 0, place), {"s": "x", "g": group})
        network.feed(batch_of([event]), (Progress(0, 0, place, None),))
        network.settle()
    answer = network.workers[f"{network.plan.result.name}.all"].ask("value_at", {"key": "b", "at": 20})
    assert isinstance(answer, dict)
    assert (answer["since"], answer["value"]) == (10, 1)


def _single() -> tuple[Network, str, str]:
    network = Network(plan(_metric('duration_where(latest_event_to_state(s) == "x")', 1)), lambda n: 0)
    leaf = next(n for n, s in network.specs.items() if s.node.is_leaf)
    return network, leaf, f"{network.plan.result.name}.p0"


def test_bytes_that_are_no_message_change_nothing() -> None:
    """A damaged payload raises StateError; the worker goes on as before."""
    network, leaf, result = _single()
    for damaged in (b"", b"nonsense", network.workers[result].snapshot(1 << 20)[0]):
        with pytest.raises(StateError):
            network.workers[leaf].ingest(damaged)
        with pytest.raises(StateError):
            network.workers[result].receive(damaged)
    assert network.workers[leaf].status()["keys"] == 0


def test_state_of_another_worker_or_version_is_refused() -> None:
    """Carried state says whose it is."""
    network, leaf, result = _single()
    with pytest.raises(StateError, match="not of"):
        NodeWorker.restore(network.specs[result], network.workers[leaf].snapshot(1 << 20))


def test_questions_name_what_is_unknown() -> None:
    """An unknown key, a missing field and an unknown field are errors that name it, never an empty answer."""
    network, leaf, _ = _single()
    worker = network.workers[leaf]
    with pytest.raises(UnknownNameError, match="nobody"):
        worker.ask("value_at", {"key": "nobody", "at": 1})
    with pytest.raises(QuestionError, match="at is missing"):
        worker.ask("value_at", {"key": "nobody"})
    with pytest.raises(QuestionError, match="when is unknown"):
        worker.ask("value_at", {"key": "nobody", "at": 1, "when": 2})


def test_a_child_begun_anew_replaces_what_it_told_before() -> None:
    """After a new epoch the subscriber holds exactly the new child's timelines."""
    network, leaf, result = _single()
    network.feed(batch_of([Event("a", 5, (0, 0, 1), {"s": "x"})]), (Progress(0, 0, 1, None),))
    network.settle()
    compare = next(n for n, s in network.specs.items() if s.inputs and s.inputs[0] == (leaf,))
    network.workers[leaf] = NodeWorker(network.specs[leaf])
    network.workers[leaf].subscribe(compare, "again")
    network.feed(batch_of([Event("a", 9, (0, 0, 2), {"s": "x"})]), (Progress(0, 0, 2, None),))
    network.settle()
    assert network.workers[result].ask("value_at", {"key": "a", "at": 10})["since"] == 9
    assert network.workers[result].ask("value_at", {"key": "a", "at": 8})["since"] is None
