"""The oracle against numbers worked out by hand from the semantics page."""

from __future__ import annotations

from fractions import Fraction
from itertools import count
from typing import Any

import pytest

from tests.oracle import aggregates, oracle
from tests.oracle.events import Event
from tests.oracle.numbers import SECOND, arithmetic, compare, same, total
from timeline_workers.language import tree
from timeline_workers.language.tree import (
    Aggregate,
    And,
    Arithmetic,
    Column,
    Compare,
    DurationInCurState,
    DurationWhere,
    EventCount,
    EventCountWithin,
    HasExisted,
    HasExistedWithin,
    LatestEventToState,
    Literal,
    Not,
)


def test_worked_example() -> None:
    """Connection-induced rebuffering on CDN1 has lasted 0, 4, 4, 7 and 7 s at 10, 14, 19, 22 and 45."""
    story = [
        (0, "playerStateChange", "init"),
        (1, "cdn", "CDN1"),
        (2, "playerStateChange", "play"),
        (10, "playerStateChange", "buffer"),
        (14, "userAction", "seek"),
        (22, "playerStateChange", "play"),
        (25, "playerStateChange", "pause"),
        (30, "cdn", "CDN2"),
        (40, "playerStateChange", "buffer"),
        (45, "playerStateChange", "play"),
    ]
    events = [Event("s", t * SECOND, (0, 0, i), {column: v}) for i, (t, column, v) in enumerate(story)]
    buffering = _is("playerStateChange", "buffer")
    played = HasExisted(of=Compare(operator="==", left=Column(name="playerStateChange"), right=_lit("play")))
    seeking = HasExistedWithin(
        of=Compare(operator="==", left=Column(name="userAction"), right=_lit("seek")), within=5 * SECOND
    )
    assert _bools(buffering, events, SECOND) == [(0, False), (10, True), (22, False), (40, True), (45, False)]
    assert _bools(seeking, events, SECOND) == [(0, False), (14, True), (19, False)]
    assert _bools(_is("cdn", "CDN1"), events, SECOND) == [(0, False), (1, True), (30, False)]
    cirr = And(
        left=And(left=buffering, right=played), right=And(left=Not(of=seeking), right=_is("cdn", "CDN1"))
    )
    assert _bools(cirr, events, SECOND) == [(0, False), (10, True), (14, False), (19, True), (22, False)]
    duration = oracle.timeline(DurationWhere(of=cirr), events, "s")
    at = {t: oracle.value_of(duration, t * SECOND) for t in (-1, 0, 10, 12, 14, 19, 20, 22, 45, 10**6)}
    assert at == {-1: None, 0: 0, 10: 0, 12: 2, 14: 4, 19: 4, 20: 5, 22: 7, 45: 7, 10**6: 7}
    assert _lines(duration, SECOND) == [
        (0, 0, 0),
        (10, 0, 1),
        (14, 4, 0),
        (19, 4, 1),
        (22, 7, 0),
    ]


def test_a_state_takes_the_later_position() -> None:
    """Of two events at one instant the later position makes the state; both have existed."""
    events = [_event(0), _event(5, place=9, s="late"), _event(5, place=2, s="early")]
    assert _pieces(LatestEventToState(column="s"), events) == [(0, None), (5, "late")]
    assert _pieces(HasExisted(of=_says("s", "early")), events) == [(0, False), (5, True)]


def test_a_repeated_value_is_no_change() -> None:
    """1.0 after 1 keeps the 1; a null column leaves the state; True after 1 is a change."""
    events = [_event(0, v=1), _event(1, v=1.0), _event(2, v=None), _event(3, v=True)]
    assert _pieces(LatestEventToState(column="v"), events) == [(0, 1), (3, True)]
    assert type(oracle.value_at(LatestEventToState(column="v"), events, "k", 2)) is int


def test_the_origin_is_the_earliest_event_whatever_its_columns() -> None:
    """A window's first False begins where an event without the column lies, and nothing before."""
    events = [_event(7, s="x"), _event(3)]
    assert _pieces(HasExisted(of=_says("s", "x")), events) == [(3, False), (7, True)]
    assert oracle.value_at(HasExisted(of=_says("s", "x")), events, "k", 2) is None
    assert oracle.timeline(HasExisted(of=_says("s", "x")), events, "someone else") == []


def test_touching_and_overlapping_windows_merge() -> None:
    """Matches at 2, 4 and 6 with a window of 2 are one span; the next at 9 starts another."""
    events = [_event(0), *(_event(t, s="x") for t in (2, 4, 6, 9))]
    within = HasExistedWithin(of=_says("s", "x"), within=2)
    assert _pieces(within, events) == [(0, False), (2, True), (8, False), (9, True), (11, False)]


def test_a_window_over_a_timeline_lengthens_each_true_span() -> None:
    """[2, 4) and [7, 8) with 3 more are [2, 7) and [7, 11), which touch and are one."""
    events = [_event(0, s="a"), _event(2, s="x"), _event(4, s="a"), _event(7, s="x"), _event(8, s="a")]
    within = HasExistedWithin(of=_is("s", "x"), within=3)
    assert _pieces(within, events) == [(0, False), (2, True), (11, False)]


def test_a_comparison_is_false_where_a_side_is_unknown() -> None:
    """!= too is False before the first value."""
    events = [_event(0), _event(4, s="x")]
    differs = Compare(operator="!=", left=LatestEventToState(column="s"), right=_lit("y"))
    assert _pieces(differs, events) == [(0, False), (4, True)]
    assert _pieces(Not(of=differs), events) == [(0, True), (4, False)]


@pytest.mark.parametrize(
    ("operator", "threshold", "expected"),
    [
        ("<", 0.0000025, [(0, True), (3, False)]),
        ("<=", 0.000003, [(0, True), (4, False)]),
        (">", 0.000003, [(0, False), (4, True)]),
        ("==", 0.000003, [(0, False), (3, True), (4, False)]),
        ("==", 0.0000025, [(0, False)]),
        ("!=", 0.000003, [(0, True), (3, False), (4, True)]),
    ],
)
def test_a_crossing_shows_at_the_next_whole_microsecond(
    operator: Any, threshold: float, expected: list[tuple[int, bool]]
) -> None:
    """A duration of 1 s per second meets a threshold exactly, or between two microseconds."""
    duration = DurationInCurState(of=LatestEventToState(column="s"))
    compared = Compare(operator=operator, left=duration, right=Literal(value=threshold))
    assert _pieces(compared, [_event(0, s="x")]) == expected


def test_two_slopes_cross() -> None:
    """Twice the time since 4 overtakes the time since 0 at 8, where they are equal."""
    events = [_event(0, s="x"), _event(4, n=1)]
    one = DurationInCurState(of=LatestEventToState(column="s"))
    two = Arithmetic(
        operator="*", left=DurationInCurState(of=LatestEventToState(column="n")), right=Literal(value=2)
    )
    assert _pieces(Compare(operator="<", left=one, right=two), events) == [(0, False), (9, True)]
    assert _pieces(Compare(operator="<=", left=one, right=two), events) == [(0, False), (8, True)]


def test_time_in_an_unknown_state_is_unknown() -> None:
    """Unknown to known is a change; a repeated value is none."""
    events = [_event(0), _event(2, s="x"), _event(5, s="x"), _event(9, s="y")]
    since = oracle.timeline(DurationInCurState(of=LatestEventToState(column="s")), events, "k")
    assert _lines(since, 1) == [(0, None, 0), (2, 0, 1), (9, 0, 1)]


def test_counts() -> None:
    """Events that match count from then on, or as long as the window lasts."""
    events = [_event(0), _event(2, s="x"), _event(2, s="x"), _event(4, s="y"), _event(5, s="x")]
    assert _pieces(EventCount(of=_says("s", "x")), events) == [(0, 0), (2, 2), (5, 3)]
    within = EventCountWithin(of=_says("s", "x"), within=3)
    assert _pieces(within, events) == [(0, 0), (2, 2), (5, 1), (8, 0)]


def test_redelivery_and_arrival_order_change_nothing() -> None:
    """The answer is that of the set of events."""
    events = [_event(2, s="x"), _event(0), _event(5, s="x")]
    matches = EventCount(of=_says("s", "x"))
    assert _pieces(matches, [*events, *reversed(events)]) == [(0, 0), (2, 1), (5, 2)]


def test_numbers() -> None:
    """Ints that leave 64 bits become floats; what is not finite, or divided by 0, is unknown."""
    assert repr(arithmetic("+", 2**63 - 1, 1)) == "9.223372036854776e+18"
    assert isinstance(arithmetic("*", 2**62, 2), float)
    assert arithmetic("-", -(2**63), 0) == -(2**63)
    assert arithmetic("*", 1.7e308, 10) is None
    assert arithmetic("/", 1, 0) is None
    assert arithmetic("/", 1, 0.0) is None
    assert repr(arithmetic("/", 4, 2)) == "2.0"
    assert repr(arithmetic("*", 0.0, -1)) == "0.0"
    assert arithmetic("+", Fraction(1, 10), 0.2) == Fraction(3, 10)
    assert arithmetic("/", Fraction(1), 0.3) == Fraction(10, 3)


def test_comparisons_of_values() -> None:
    """Numbers compare exactly, strings by code point, other pairs of types not at all."""
    assert not compare("==", 2**53 + 1, float(2**53))
    assert compare(">", 2**53 + 1, float(2**53))
    assert compare("==", Fraction(3, 10), 0.3)
    assert compare("<", "\uffff", "\U0001f600")
    assert not compare("!=", "1", 1)
    assert not compare("!=", True, 1)
    assert not compare("<", False, True)
    assert same(1, 1.0)
    assert not same(1, True)
    assert not same("1", 1)


def test_sums_do_not_depend_on_order() -> None:
    """A sum with a float is exact until the end."""
    assert total([1e308, 1e308, -1e308]) == 1e308
    assert total([0.1] * 10) == 1.0
    assert repr(total([1, 2])) == "3"
    assert total([1.7e308, 1.7e308]) is None
    assert isinstance(total([2**63 - 1, 1]), float)


def test_a_keys_whole_contribution_moves_with_its_group() -> None:
    """Two keys by CDN: counts, sums of flags, and the group that a key leaves or has not yet."""
    events = [
        _event(0, key="a", s="x"),
        _event(2, key="a", r="east"),
        _event(3, key="b", r="east", s="y"),
        _event(6, key="a", r="west"),
        _event(8, key="b", s="x"),
        _event(9, key="b", r="west"),
    ]
    expression = Aggregate(of=_is("s", "x"), group_by="r", functions=("count", "sum", "avg", "min", "max"))
    assert aggregates.groups(expression, events) == [None, "east", "west"]

    def over(group: str | None, function: str) -> list[tuple[int, Any]]:
        return [(p.start, p.value) for p in aggregates.aggregate(expression, events, group, function)]

    assert over(None, "count") == [(0, 1), (2, 0)]
    assert over(None, "sum") == [(0, 1), (2, None)]
    assert over("east", "count") == [(2, 1), (3, 2), (6, 1), (9, 0)]
    assert over("east", "sum") == [(2, 1), (6, 0), (8, 1), (9, None)]
    assert over("east", "avg") == [(2, 1.0), (3, 0.5), (6, 0.0), (8, 1.0), (9, None)]
    assert over("west", "count") == [(6, 1), (9, 2)]
    assert over("west", "min") == [(6, 1)]
    assert over("east", "max") == [(2, 1), (6, 0), (8, 1), (9, None)]


def test_least_and_greatest_switch_where_numbers_cross() -> None:
    """A slower, older duration is the least only after the faster one has passed it."""
    events = [_event(0, key="a", s="x"), _event(4, key="b", s="x"), _event(6, key="a", s="y")]
    expression = Aggregate(
        of=Arithmetic(
            operator="*",
            left=DurationInCurState(of=LatestEventToState(column="s")),
            right=LatestEventToState(column="n"),
        ),
        group_by="g",
        functions=("min", "max"),
    )
    events += [_event(0, key="a", place=8, n=3), _event(4, key="b", place=9, n=1)]
    least = aggregates.aggregate(expression, events, None, "min")
    micro = Fraction(1, SECOND)
    # a: 3t until 6, then 3(t-6); b: t-4 from 4 on; they meet at 7.
    assert _lines(least, 1) == [
        (0, 0, 3),
        (4, 0, 1),
        (6, 0, 3),
        (7, 3 * micro, 1),
    ]


_serial = count()


def _event(time: int, key: str = "k", place: int | None = None, **columns: Any) -> Event:
    """An event whose position is ``place``, or else after all made before it."""
    return Event(key, time, (0, 0, place) if place is not None else (1, 0, next(_serial)), columns)


def _lines(pieces: oracle.Pieces, unit: int) -> list[Any]:
    return [(p.start // unit, p.value, p.slope) for p in pieces]


def _lit(value: str) -> Literal:
    return Literal(value=value)


def _is(column: str, value: str) -> Compare:
    return Compare(operator="==", left=LatestEventToState(column=column), right=_lit(value))


def _says(column: str, value: str) -> Compare:
    return Compare(operator="==", left=Column(name=column), right=_lit(value))


def _pieces(expression: tree.Expression, events: list[Event]) -> list[tuple[int, Any]]:
    return [(p.start, p.value) for p in oracle.timeline(expression, events, "k")]


def _bools(expression: tree.Expression, events: list[Event], unit: int) -> list[tuple[int, Any]]:
    return [(p.start // unit, p.value) for p in oracle.timeline(expression, events, "s")]
