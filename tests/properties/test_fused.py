"""The nodes of an expression computed in one are those that are computed one by one, whatever comes late, and
whichever keys are taken out and put back; rows of theirs that do not fit are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from tests.oracle.events import Event
from tests.properties import strategies as some
from tests.properties.batches import batch_of, pieces_of, shown
from tests.properties.graphs import _renumbered
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import LeafRouter
from timeline_workers.algebra.nodes.fused import FusedNode, derived_of
from timeline_workers.algebra.nodes.node import EventNode
from timeline_workers.algebra.operators import inputs_of, is_leaf
from timeline_workers.errors import StateError
from timeline_workers.language.parser import parse
from timeline_workers.wire.key_state import pack_rows, unpack_fused_rows


class _Fed:
    """Fused nodes over leaves that number keys for themselves."""

    def __init__(self, expression: Any) -> None:
        self.node = FusedNode(expression)
        self.leaves = [EventNode(leaf) for leaf in self.node.leaves]

    def add(self, events: list[Event]) -> Any:
        for slot, leaf in enumerate(self.leaves):
            news = leaf.ingest(LeafRouter(leaf.expression).batch(batch_of(events)))
            names = [leaf.keys.names[key] for key in news.keys.tolist()]
            self.node.receive(slot, _renumbered(news, self.node.keys.intern_all(names)))
        return self.node.advance()


def _leave_and_come_back(node: FusedNode, data: st.DataObject) -> None:
    names = list(node.keys.names)
    leaving = sorted(data.draw(st.sets(st.integers(0, len(names) - 1)))) if names else []
    numbers = np.array(leaving, np.int64)
    packed = pack_rows(node.take_out(numbers))
    if data.draw(st.booleans()):
        node.renumber(np.array([i for i in range(len(names)) if i not in leaving], np.int64))
        assert len(node.keys) == len(names) - len(leaving)
    again = node.keys.intern_all([names[i] for i in leaving])
    assert not len(node.copy_out(again).output)
    node.put_back(again, unpack_fused_rows(packed, len(node.inputs), len(node.nodes)))


@settings(max_examples=settings().max_examples // 2)
@given(st.data())
def test_every_node_is_what_it_is_alone(data: st.DataObject) -> None:
    """In any order and any cuts, with keys that leave and come back in between."""
    expression = data.draw(some.expressions(1, 3))
    assume(not is_leaf(expression))
    events = data.draw(some.event_sets(expression, scale=1))
    fed, whole = _Fed(expression), Evaluation(expression)
    for cut in data.draw(some.deliveries(events)):
        fed.add(cut)
        whole.add(batch_of(cut))
        if data.draw(st.booleans()):
            _leave_and_come_back(fed.node, data)
    assert [node.expression for node in fed.node.nodes] == derived_of(expression)
    for node in fed.node.nodes:
        timeline = whole.timeline(node.expression)
        for row, key in enumerate(fed.node.keys.names):
            found = pieces_of(node.output.timeline(), row)
            assert shown(found) == shown(pieces_of(timeline, whole.keys.index[key]))


def test_nodes_know_which_leaves_they_rest_on() -> None:
    """A leaf is held once for all that read it; what was told with a gap limits those above it only."""
    node = FusedNode(
        parse('(latest_event_to_state(s) == "x" || has_existed(b)) && !(latest_event_to_state(s) == "x")')
    )
    assert len(node.inputs) == len(node.leaves) == 2
    assert [len(inputs_of(inner.expression)) for inner in node.nodes] == [1, 2, 1, 2]
    (existed,) = [slot for slot, leaf in enumerate(node.leaves) if leaf == parse("has_existed(b)")]
    node.begin_from([existed], 7)
    assert [existed in slots for slots in node.rests_on] == [False, True, False, True]
    assert [inner.answerable_from for inner in node.nodes] == [None, 7, None, 7]
    node.begin_from([existed], 5)
    assert node.answerable_from == 7


def test_rows_that_do_not_fit_are_refused() -> None:
    """Of other nodes, of other leaves, or of different numbers of keys."""
    fed = _Fed(parse('duration_where(latest_event_to_state(s) == "x" && has_existed(b))'))
    fed.add([Event("a", 5, (0, 0, 1), {"s": "x"}), Event("b", 6, (0, 0, 2), {"b": "y"})])
    packed = pack_rows(fed.node.copy_out(np.arange(2)))
    assert unpack_fused_rows(packed, 2, 3).keys == 2
    for slots, nodes in ((1, 3), (2, 2), (2, 4), (3, 3)):
        with pytest.raises(StateError, match="3 fused nodes over 2 leaves"):
            unpack_fused_rows(packed, slots, nodes)
    fewer = pack_rows(fed.node.copy_out(np.arange(1)))
    with pytest.raises(StateError, match="different numbers of keys"):
        unpack_fused_rows({**packed, "stale": fewer["stale"]}, 2, 3)
    with pytest.raises(StateError, match="rows of fused nodes"):
        unpack_fused_rows({"nodes": packed["nodes"]}, 2, 3)
