"""The change over a range, held against the oracle."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

from hypothesis import given, settings, strategies as st

from tests.chaos.expected import plain as written
from tests.oracle import oracle
from tests.oracle.aggregates import aggregate
from tests.oracle.events import keys_of
from tests.properties import strategies as some
from tests.properties.batches import batch_of
from timeline_workers import evaluate
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.answers.one_key import without_events
from timeline_workers.answers.reader import Reader
from timeline_workers.language import tree


@given(st.data())
def test_every_change_of_a_number_is_the_oracles(data: st.DataObject) -> None:
    """Over any range, and per interval."""
    scale = data.draw(some.scales)
    expression = data.draw(some.plain(scale, 2) | some.exact(scale, 2))
    events = data.draw(some.event_sets(expression, scale=scale))
    start, end, every = data.draw(ranges(events, scale))
    nothing = oracle.without_events(expression)
    assert typed(without_events(expression)) == typed(nothing)
    whole = Evaluation(expression)
    whole.add(batch_of(events))
    reader = Reader(whole.timeline(), whole.keys, "numeric", expression)
    for key in keys_of(events):
        pieces = oracle.timeline(expression, events, key)
        asked = [
            reader.change(key, start, end),
            *reader.change_every(key, start, end, timedelta(microseconds=every)),
        ]
        for answer in asked:
            right = oracle.change(pieces, nothing, int(answer.start), int(answer.end))
            assert typed(answer.change) == typed(written(right))


@given(st.data())
def test_changes_of_intervals_add_up(data: st.DataObject) -> None:
    """Of a Numeric that stays known once it is; so every event is in one interval."""
    scale = data.draw(some.scales)
    expression = data.draw(
        st.builds(tree.EventCount, of=some.predicates(1))
        | st.builds(tree.DurationWhere, of=some.booleans(scale, 1))
        | st.builds(tree.EventCountWithin, of=some.predicates(1), within=st.integers(1, 9 * scale))
    )
    events = data.draw(some.event_sets(expression, scale=scale))
    start, end, every = data.draw(ranges(events, scale))
    whole = Evaluation(expression)
    whole.add(batch_of(events))
    reader = Reader(whole.timeline(), whole.keys, "numeric", expression)
    for key in keys_of(events):
        parts = [
            answer.change for answer in reader.change_every(key, start, end, timedelta(microseconds=every))
        ]
        micros = sum(round(float(part) * 1e6) for part in parts)  # type: ignore[arg-type]
        assert micros == round(float(reader.change(key, start, end).change) * 1e6)  # type: ignore[arg-type]


@settings(max_examples=settings().max_examples // 2)
@given(st.data())
def test_an_aggregates_change_is_that_of_its_timeline(data: st.DataObject) -> None:
    """A count begins with 0, and anything else where the group's first known value is."""
    scale = data.draw(some.scales)
    expression = data.draw(some.aggregates(scale, 1))
    function = data.draw(st.sampled_from(get_args(tree.AggregateFunction)))
    events = data.draw(some.event_sets(expression, scale=scale))
    start, end, _ = data.draw(ranges(events, scale))
    whole = Evaluation(expression)
    whole.add(batch_of(events))
    reader = Reader(whole.aggregate(function), whole.groups, "numeric", expression, aggregate=function)
    nothing = oracle.without_events(expression, function)
    for group in whole.groups:
        pieces = aggregate(expression, events, group, function)
        right = written(oracle.change(pieces, nothing, start, end))
        assert typed(reader.change(group, start, end).change) == typed(right)


def test_constants_in_an_expression_have_a_change() -> None:
    found = evaluate("event_count(x == 1) + 3 * 10", [{"k": "a", "t": 5, "x": 1}], key="k", time="t")
    assert found.change("a", 5, 10).change == 1  # type: ignore[union-attr]


def ranges(events: Any, scale: int) -> st.SearchStrategy[tuple[int, int, int]]:
    """Start, end and interval, in microseconds: often at an event."""
    times = [event.time for event in events]
    edge = st.sampled_from(times) | st.integers(min(times) - 9 * scale, max(times) + 20 * scale)
    ends = st.tuples(edge, edge).map(sorted)
    every = st.integers(1, 12).map(lambda n: n * scale)
    return st.tuples(ends, every).map(lambda drawn: (drawn[0][0], drawn[0][1], drawn[1]))


def typed(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value
