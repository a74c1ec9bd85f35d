"""Nodes that forget what lies below the watermark compute what nodes that remember everything do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, note, strategies as st

from tests.oracle import oracle
from tests.oracle.events import Event, keys_of
from tests.properties import strategies as some
from tests.properties.batches import pieces_of, shown, within_time
from tests.properties.graphs import Graph
from timeline_workers.algebra.nodes.node import EventNode
from timeline_workers.language import tree


def _looking_back(scale: int) -> st.SearchStrategy[Any]:
    """Operators that read what came before the instant they compute from."""
    within = st.integers(1, 9).map(lambda d: d * scale)
    windows = some.pick(
        st.builds(tree.HasExistedWithin, of=some.predicates(0), within=within),
        st.builds(tree.HasExistedWithin, of=some.booleans(scale, 0), within=within),
        st.builds(
            tree.Compare,
            operator=st.sampled_from(["==", "<", ">="]),
            left=st.builds(tree.EventCountWithin, of=some.predicates(0), within=within),
            right=st.builds(tree.Literal, value=st.integers(0, 2)),
        ),
    )
    return some.pick(
        windows,
        st.builds(tree.DurationWhere, of=windows),
        st.builds(tree.DurationInCurState, of=windows),
        st.builds(tree.And, left=windows, right=some.booleans(scale, 0)),
        some.expressions(scale, 2),
    )


@given(st.data())
def test_compaction_changes_no_answer_above_the_horizon(data: st.DataObject) -> None:
    """However late an accepted event is, down to exactly the watermark: what a node still holds is the end of
    the oracle's timeline, and it holds all from the horizon on and what held just before."""
    scale = data.draw(some.scales)
    expression = data.draw(_looking_back(scale))
    events = data.draw(some.event_sets(expression, scale=scale, max_size=16))
    first = min(e.time for e in events)
    mark = first
    graph = Graph(expression)
    so_far: list[Event] = []
    for start in range(0, len(events), 2):
        batch = [replace(e, time=mark + (e.time - first) % (5 * scale)) for e in events[start : start + 2]]
        graph.add(batch)
        so_far += batch
        mark += data.draw(st.integers(0, 3)) * scale
        for node in graph.nodes.values():
            if data.draw(st.booleans()):
                horizon = mark - data.draw(st.integers(0, 6)) * scale
                keep_all = data.draw(st.integers(0, 3)) == 3
                node.compact(mark, None if keep_all else np.full(len(node.keys), horizon, np.int64))
    for node_expression, node in graph.nodes.items():
        since = node.answerable_from
        for key in keys_of(so_far):
            note(f"{node_expression!r} {key!r} answerable from {since}, compacted at {node.compacted}")
            number = next(i for i, name in enumerate(node.keys.names) if repr(name) == repr(key))
            held = shown(pieces_of(node.output.timeline(), number))
            expected = shown(within_time(oracle.timeline(node_expression, so_far, key)))
            assert held == expected[len(expected) - len(held) :]
            if len(held) < len(expected):
                assert since is not None
                assert held[0][0] < since


@given(st.data())
def test_what_is_no_longer_needed_is_forgotten(data: st.DataObject) -> None:
    """Compacting far beyond all that is known leaves one row per key, and no event."""
    expression = data.draw(some.expressions(1, 2))
    events = data.draw(some.event_sets(expression, scale=1, max_size=9))
    graph = Graph(expression)
    graph.add(events)
    mark = max(e.time for e in events) + 10**9
    for node in graph.nodes.values():
        keys = len(node.keys)
        node.compact(mark, np.full(keys, mark, np.int64))
        assert len(node.output) <= keys
        if isinstance(node, EventNode):
            assert len(node.log) == 0
        else:
            assert all(held is not None and len(held) <= keys for held in node.inputs)


def test_only_the_first_match_is_held_for_an_existence() -> None:
    """A later match is dropped as it comes, an earlier one takes the place of the one before."""
    match = tree.Compare(operator="==", left=tree.Column(name="s"), right=tree.Literal(value="x"))
    graph = Graph(tree.HasExisted(of=match))
    (node,) = graph.nodes.values()
    assert isinstance(node, EventNode)
    for i, time in enumerate([50, 60, 20, 30, 20, 90]):
        graph.add([Event("a", time, (0, 0, i), {"s": "x"}), Event("b", time, (0, 1, i), {"s": "y"})])
        assert len(node.log) == 1
    graph.add([Event("a", 5, (0, 2, 0), {}), Event("b", 5, (0, 2, 1), {})])
    assert shown(pieces_of(node.output.timeline(), 0)) == [(5, "False", "0"), (20, "True", "0")]
    assert shown(pieces_of(node.output.timeline(), 1)) == [(5, "False", "0")]


def test_a_window_looks_back_beyond_the_watermark() -> None:
    """The True span that ended below the watermark still reaches above it."""
    match = tree.Compare(operator="==", left=tree.Column(name="s"), right=tree.Literal(value="x"))
    once = tree.Compare(
        operator="==", left=tree.EventCountWithin(of=match, within=3), right=tree.Literal(value=1)
    )
    expression = tree.HasExistedWithin(of=once, within=9)
    graph = Graph(expression)
    graph.add([Event("a", 0, (0, 0, 1), {"s": "x"}), Event("a", 6, (0, 0, 2), {"s": "x"})])
    for node in graph.nodes.values():
        node.compact(5, np.full(len(node.keys), 5, np.int64))
    graph.add([Event("a", 6, (0, 0, 3), {"s": "x"})])
    held = shown(pieces_of(graph.nodes[expression].output.timeline(), 0))
    assert held == [(0, "True", "0"), (12, "False", "0")]


def test_an_event_below_the_horizon_is_counted() -> None:
    """A feeder that keeps to its watermark sends none; were there one, no answer would be half right."""
    graph = Graph(tree.LatestEventToState(column="s"))
    (node,) = graph.nodes.values()
    assert isinstance(node, EventNode)
    graph.add([Event("a", 10, (0, 0, 1), {"s": "x"})])
    node.compact(100, None)
    graph.add([Event("a", 99, (0, 0, 2), {"s": "y"}), Event("a", 100, (0, 0, 3), {"s": "z"})])
    assert node.too_late == 1
    assert shown(pieces_of(node.output.timeline(), 0)) == [(10, "'x'", "0"), (100, "'z'", "0")]
