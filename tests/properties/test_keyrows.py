"""Keys that are taken out of a node and put back, at any time, leave no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st

from tests.oracle import oracle
from tests.oracle.events import Event, keys_of
from tests.properties import strategies as some
from tests.properties.batches import pieces_of, shown, within_time
from tests.properties.graphs import Graph
from timeline_workers.algebra.nodes.key_rows import DerivedRows, LeafRows
from timeline_workers.columns import operations


def _leave_and_come_back(node: Any, data: st.DataObject) -> None:
    names = list(node.keys.names)
    if not names:
        return
    leaving = sorted(data.draw(st.sets(st.integers(0, len(names) - 1))))
    numbers = np.array(leaving, np.int64)
    rows: LeafRows | DerivedRows = node.take_out(numbers)
    assert rows.keys == len(leaving)
    if data.draw(st.booleans()):
        node.renumber(np.array([i for i in range(len(names)) if i not in leaving], np.int64))
        assert len(node.keys) == len(names) - len(leaving)
    back = data.draw(st.permutations(range(len(leaving))))
    assert not np.diff(node.copy_out(node.keys.intern_all([names[i] for i in leaving])).output.offsets).any()
    again = node.keys.intern_all([names[i] for i in leaving])
    for place in back:
        node.put_back(again[[place]], _one(rows, place))


def _one(rows: Any, place: int) -> Any:
    """One key's part of rows."""
    if isinstance(rows, LeafRows):
        log = rows.log
        low, high = int(log.offsets[place]), int(log.offsets[place + 1])
        values = None if log.values is None else operations.take(log.values, np.arange(low, high))
        one = type(log)(
            np.array([0, high - low]), log.times[low:high], log.positions.take(np.arange(low, high)), values
        )
        return LeafRows(rows.origins[[place]], rows.seen[[place]], one, _key(rows.output, place))
    inputs = tuple(None if held is None else _key(held, place) for held in rows.inputs)
    return DerivedRows(inputs, _key(rows.output, place), rows.stale[[place]])


def _key(timeline: Any, place: int) -> Any:
    low, high = int(timeline.offsets[place]), int(timeline.offsets[place + 1])
    part = operations.take(timeline.values, np.arange(low, high))
    return type(timeline)(np.array([0, high - low]), timeline.starts[low:high], part)


@settings(max_examples=settings().max_examples // 3)
@given(st.data())
def test_keys_that_leave_and_come_back_change_no_answer(data: st.DataObject) -> None:
    """Whatever keys are taken out between any two batches, with or without closing the gaps, and put back in
    any order, every node ends with the oracle's timelines."""
    scale = data.draw(some.scales)
    expression = data.draw(some.expressions(scale, 2))
    events = data.draw(some.event_sets(expression, scale=scale, max_size=12))
    graph = Graph(expression)
    so_far: list[Event] = []
    for batch in data.draw(some.deliveries(events)):
        graph.add(batch)
        so_far += batch
        for node in graph.nodes.values():
            if data.draw(st.booleans()):
                _leave_and_come_back(node, data)
    for node_expression, node in graph.nodes.items():
        for key in keys_of(so_far):
            number = next(i for i, name in enumerate(node.keys.names) if repr(name) == repr(key))
            expected = within_time(oracle.timeline(node_expression, so_far, key))
            assert shown(pieces_of(node.output.timeline(), number)) == shown(expected)
