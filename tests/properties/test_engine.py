"""The engine against the oracle: any expression, any events, in any order, in any cuts, with redelivery."""

from __future__ import annotations

from typing import Any

from hypothesis import given, note, strategies as st

from tests.oracle import aggregates, oracle
from tests.oracle.events import Event, keys_of
from tests.oracle.numbers import SECOND, same
from tests.properties import strategies as some
from tests.properties.batches import batch_of, pieces_of, shown, within_time
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.language import tree


@given(st.data())
def test_all_at_once_equals_the_oracle(data: st.DataObject) -> None:
    """One batch in any order gives, at every node, exactly the oracle's pieces for every key."""
    scale = data.draw(some.scales)
    expression = data.draw(some.expressions(scale, 3))
    events = data.draw(some.event_sets(expression, scale=scale))
    evaluation = Evaluation(expression)
    evaluation.add(batch_of(events))
    _check_every_node(evaluation, expression, events)


@given(st.data())
def test_any_arrival_equals_the_oracle(data: st.DataObject) -> None:
    """After each batch the root, and at the end every node, is the oracle's for the events so far."""
    scale = data.draw(some.scales)
    expression = data.draw(some.expressions(scale, 3))
    events = data.draw(some.event_sets(expression, scale=scale))
    evaluation = Evaluation(expression)
    so_far: list[Event] = []
    for batch in data.draw(some.deliveries(events)):
        evaluation.add(batch_of(batch))
        so_far += batch
        _check(evaluation, expression, so_far, root=True)
    _check_every_node(evaluation, expression, events)


@given(st.data())
def test_one_event_at_a_time_equals_the_oracle(data: st.DataObject) -> None:
    """The finest cut, in any order."""
    scale = data.draw(some.scales)
    expression = data.draw(some.expressions(scale, 2))
    events = data.draw(some.event_sets(expression, scale=scale, max_size=8))
    evaluation = Evaluation(expression)
    for event in data.draw(st.permutations(events)):
        evaluation.add(batch_of([event]))
    _check_every_node(evaluation, expression, events)


@given(st.data())
def test_aggregates_equal_the_oracle(data: st.DataObject) -> None:
    """For every group and function, in any arrival order and any cuts."""
    scale = data.draw(some.scales)
    expression = data.draw(some.aggregates(scale, 2))
    events = data.draw(some.event_sets(expression, scale=scale, max_size=10, span=12))
    evaluation = Evaluation(expression)
    for batch in data.draw(some.deliveries(events)):
        evaluation.add(batch_of(batch))
    expected = aggregates.groups(expression, events)
    sizes = evaluation.aggregate("count")
    listed = [group for row, group in enumerate(evaluation.groups) if pieces_of(sizes, row)]
    assert len(listed) == len(expected), (listed, expected)
    for function in expression.functions:
        timeline = evaluation.aggregate(function)
        for group in expected:
            row = next(i for i, found in enumerate(evaluation.groups) if same(found, group))
            note(f"{function} of group {group!r}")
            pieces = aggregates.aggregate(expression, events, group, function)
            assert shown(pieces_of(timeline, row)) == shown(within_time(pieces))


def test_an_event_without_match_makes_its_key_known() -> None:
    """Every node knows every key of its source, from the key's origin on."""
    expression = tree.DurationWhere(
        of=tree.HasExisted(
            of=tree.Compare(operator="==", left=tree.Column(name="s"), right=tree.Literal(value="x"))
        )
    )
    evaluation = Evaluation(expression)
    evaluation.add(batch_of([Event("quiet", 5 * SECOND, (0, 0, 1), {"r": "elsewhere"})]))
    assert evaluation.keys.names == ["quiet"]
    assert shown(pieces_of(evaluation.timeline(), 0)) == [(5 * SECOND, "Fraction(0, 1)", "0")]


def _check_every_node(evaluation: Evaluation, expression: Any, events: list[Event]) -> None:
    for node in some.subexpressions(expression):
        _check(evaluation, node, events, root=False)


def _check(evaluation: Evaluation, node: Any, events: list[Event], *, root: bool) -> None:
    timeline = evaluation.timeline() if root else evaluation.timeline(node)
    keys = keys_of(events)
    assert sorted(map(repr, evaluation.keys.names)) == sorted(map(repr, keys))
    for key in keys:
        note(f"key {key!r} of {node!r}")
        expected = within_time(oracle.timeline(node, events, key))
        row = next(i for i, name in enumerate(evaluation.keys.names) if repr(name) == repr(key))
        assert shown(pieces_of(timeline, row)) == shown(expected)
