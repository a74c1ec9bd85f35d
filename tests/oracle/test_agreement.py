"""Two readings of the semantics page agree: pieces (oracle.py) and instants (instants.py)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st

from tests.oracle import instants, oracle
from tests.oracle.aggregates import aggregate, groups
from tests.oracle.events import keys_of, of_key
from tests.properties import strategies as some

TAIL = 30  # longer than any window or threshold after the last event


@given(st.data())
def test_pieces_and_instants_agree_for_every_expression(data: st.DataObject) -> None:
    """At every microsecond from the origin on, both oracles give the same value of the same type."""
    expression = data.draw(some.expressions(1, 3))
    events = data.draw(some.event_sets(expression, scale=1, max_size=10, span=16))
    until = max(e.time for e in events) + TAIL
    for key in keys_of(events):
        pieces = oracle.timeline(expression, events, key)
        origin = of_key(events, key)[0].time
        assert pieces[0].start == origin
        walked = instants.values(expression, events, key, until)
        read = [oracle.value_of(pieces, t) for t in range(origin, until + 1)]
        assert list(map(_typed, read)) == list(map(_typed, walked))


@given(st.data())
def test_pieces_and_instants_agree_on_every_change(data: st.DataObject) -> None:
    """Over any range, also one that begins or ends at or before the origin or at an event."""
    expression = data.draw(some.plain(1, 3) | some.exact(1, 3))
    events = data.draw(some.event_sets(expression, scale=1, max_size=10, span=16))
    times = [e.time for e in events]
    edge = st.integers(min(times) - 3, max(times) + TAIL)
    start, end = sorted((data.draw(edge), data.draw(edge)))
    nothing = oracle.without_events(expression)
    for key in keys_of(events):
        pieces = oracle.timeline(expression, events, key)
        read = oracle.change(pieces, nothing, start, end)
        assert _typed(read) == _typed(instants.change(expression, events, key, start, end))


@given(st.data())
def test_pieces_and_instants_agree_for_every_aggregate(data: st.DataObject) -> None:
    """For every group and function both oracles give the same value at every microsecond."""
    expression = data.draw(some.aggregates(1, 1))
    events = data.draw(some.event_sets(expression, scale=1, max_size=10, span=12))
    walk = range(min(e.time for e in events), max(e.time for e in events) + TAIL)
    for group in groups(expression, events):
        for function in expression.functions:
            pieces = aggregate(expression, events, group, function)
            walked = instants.aggregate(expression, events, group, function, walk)
            assert [_typed(oracle.value_of(pieces, t)) for t in walk] == list(map(_typed, walked))


def _typed(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value
