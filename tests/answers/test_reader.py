"""Questions to one node: value at an instant, spans, change; on timelines written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.answers.answer_models import KindName
from timeline_workers.answers.reader import Reader, duration, in_order, intervals
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.columns.values import Flags, Linear, Tagged, Values
from timeline_workers.errors import QuestionError, UnknownNameError
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Expression

SECOND = 1_000_000


COUNT = parse("event_count(x == 1)")  # 0 with no events
STATE = parse("latest_event_to_state(x) + 0")  # unknown with no events
DURATION = parse("duration_where(latest_event_to_state(x) == 1)")


FLAG = parse("has_existed(x == 1)")
LEVEL = parse("latest_event_to_state(x)")
SIZE = parse("latest_event_to_state(x) == 1 | aggregate(group_by(y), count)")


def reader(
    starts: Sequence[float], values: Values, kind: KindName, of: Expression = STATE, **options: Any
) -> Reader:
    """One key, "s", with pieces that start at the given seconds, of the expression ``of``."""
    offsets = np.array([0, len(starts)], np.int64)
    micros = np.array([int(s * SECOND) for s in starts], np.int64)
    return Reader(Timeline(offsets, micros, values), ["s"], kind, of, **{"unit": "s", **options})


def state(pieces: Sequence[tuple[float, Any]], kind: KindName = "state", **options: Any) -> Reader:
    return reader([s for s, _ in pieces], Tagged.of([v for _, v in pieces]), kind, **options)


def flags(pieces: Sequence[tuple[float, bool]], **options: Any) -> Reader:
    data = np.array([v for _, v in pieces], np.bool_)
    return reader([s for s, _ in pieces], Flags(data), "boolean", **options)


def linear(pieces: Sequence[tuple[float, Any, Any]], **options: Any) -> Reader:
    """(start in seconds, value in units or None, slope)."""
    known = np.array([v is not None for _, v, _ in pieces])
    exact = [(Fraction(v or 0) * SECOND, Fraction(s)) for _, v, s in pieces]
    whole = all(n.denominator == m.denominator == 1 for n, m in exact)
    kind: Any = np.int64 if whole else object
    num, slope = np.empty(len(exact), kind), np.empty(len(exact), kind)
    num[:], slope[:] = [n for n, _ in exact], [m for _, m in exact]
    return reader([s for s, _, _ in pieces], Linear(known, num, slope), "numeric", **options)


PLAYED = linear([(0, 0, 0), (10, 0, 1), (14, 4, 0), (19, 4, 1), (22, 7, 0)], of=DURATION)


@pytest.mark.parametrize(
    ("at", "value", "since", "until", "slope"),
    [
        (-1, None, None, 0, None),
        (0, 0, 0, 10, 0),
        (10, 0, 10, 14, 1),
        (14, 4, 14, 19, 0),
        (20, 5, 19, 22, 1),
        (20.5, 5.5, 19, 22, 1),
        (22, 7, 22, None, 0),
        (45, 7, 22, None, 0),
    ],
)
def test_the_value_has_the_documented_shape(
    at: float, value: Any, since: Any, until: Any, slope: Any
) -> None:
    """The value at an instant has exactly the documented shape."""
    answer = PLAYED.value_at("s", at).model_dump()
    assert answer == {
        "key": "s",
        "at": at,
        "value": value,
        "since": since,
        "until": until,
        "slope": slope,
        "final": False,
    }
    assert list(answer) == ["key", "at", "value", "since", "until", "slope", "final"]
    assert type(answer["value"]) is type(value)


def test_a_state_and_a_boolean_have_no_slope() -> None:
    assert state([(0, "x")]).value_at("s", 5).model_dump() == {
        "key": "s",
        "at": 5,
        "value": "x",
        "since": 0,
        "until": None,
        "final": False,
    }
    assert "slope" not in flags([(0, True)]).value_at("s", 5).model_dump()


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", None])
def test_a_value_keeps_its_type(value: Any) -> None:
    found = state([(0, value)]).value_at("s", 0).model_dump()["value"]
    assert found == value
    assert type(found) is type(value)


def test_counts_are_numeric_with_slope_0() -> None:
    """Counts are numeric with slope 0 and unknown ones have no slope."""
    counts = state([(0, None), (5, 3)], "numeric")
    assert counts.value_at("s", 2).model_dump()["slope"] is None
    assert counts.value_at("s", 5).model_dump()["slope"] == 0


def test_fractions_answer_with_the_nearest_float() -> None:
    """Fractions answer with the nearest float and ints stay ints."""
    thirds = linear([(0, 0, Fraction(1, 3))])
    assert thirds.value_at("s", 1).value == 1 / 3
    assert thirds.value_at("s", 3).value == 1
    assert type(thirds.value_at("s", 3).value) is int
    assert thirds.value_at("s", 1).slope == 1 / 3


def test_spans_are_cut_to_the_range() -> None:
    """Spans are cut to the range and what is carried in counts."""
    answer = PLAYED.spans("s", 12, 20).model_dump()
    assert answer == {
        "key": "s",
        "start": 12,
        "end": 20,
        "kind": "numeric",
        "spans": [
            {"start": 12, "end": 14, "value": 2, "slope": 1},
            {"start": 14, "end": 19, "value": 4, "slope": 0},
            {"start": 19, "end": 20, "value": 4, "slope": 1},
        ],
    }
    assert list(answer) == ["key", "start", "end", "kind", "spans"]


def test_before_the_origin_there_is_no_span() -> None:
    """Before the origin there is no span and unknown is a span of null."""
    spans = state([(5, None), (6, "x")]).spans("s", 0, 10).model_dump()["spans"]
    assert spans == [{"start": 5, "end": 6, "value": None}, {"start": 6, "end": 10, "value": "x"}]
    assert state([(5, "x")]).spans("s", 0, 5).spans == []


def test_an_empty_range_has_no_spans_and_no_change() -> None:
    assert PLAYED.spans("s", 20, 20).spans == []
    assert PLAYED.change("s", 20, 20).change == 0
    assert flags([(0, True)]).change("s", 20, 20).change == 0
    assert state([(0, "x")]).change("s", 20, 20).seconds_by_value == []
    assert state([(30, "x")]).change("s", 20, 20).seconds_by_value == []


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(12, 20, 3), (0, 60, 7), (-100, 60, 7), (-10, -5, 0), (-10, 0, 0), (20.5, 21, 0.5), (22, 60, 0)],
)
def test_numeric_change_is_between_values_before_the_ends(start: float, end: float, expected: Any) -> None:
    """Numeric change is the difference of the values just before the ends."""
    answer = PLAYED.change("s", start, end).model_dump()
    assert answer == {"key": "s", "start": start, "end": end, "kind": "numeric", "change": expected}
    assert type(answer["change"]) is type(expected)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 12, 2), (0, 10, None), (0, 14, 4), (0, 14.5, None), (6, 15, None), (0, 5, None), (-5, 0, None),
     (10, 10, None), (11, 11, 0), (11, 30, 18), (14, 30, 15), (16, 30, 10), (16, 20.5, 0.5)],
)  # fmt: skip
def test_numeric_change_counts_from_the_first_known_instant(start: float, end: float, expected: Any) -> None:
    """Numeric change counts from the first known instant and is null if unknown at the end."""
    broken = linear([(0, None, 0), (10, 5, 1), (14, None, 0), (20, 14, 1)])
    assert broken.change("s", start, end).change == expected


def test_the_start_counts_and_the_end_does_not() -> None:
    """So a key's first event counts, and hours add up to the day."""
    counts = state([(0, 1), (1800, 2), (3600, 3), (7200, 4), (7201, 5)], "numeric", of=COUNT)
    hours = counts.change_every("s", 0, 10800, "1h")
    assert [a.change for a in hours] == [2, 1, 2]
    assert counts.change("s", 0, 10800).change == 5
    assert counts.change("s", -3600, 0).change == 0
    assert counts.change("s", -3600, 0.000001).change == 1
    assert counts.change("s", 7200, 7201).change == 1


def test_what_drops_at_the_end_has_not_dropped_yet() -> None:
    waited = linear([(0, 0, 1), (10, 0, 1)], of=DURATION)
    assert [a.change for a in waited.change_every("s", 0, 20, "10s")] == [10, 0]
    assert waited.change("s", 0, 10.5).change == 0.5


def test_a_change_begins_with_the_first_known_value() -> None:
    """Where it is unknown with no events the change begins with the first known value."""
    level = state([(0, 5), (10, 7)], "numeric", of=STATE)
    assert [level.change("s", -5, end).change for end in (0, 5, 10, 11)] == [None, 0, 0, 2]
    assert level.change("s", 10, 11).change == 2


def test_a_change_of_ints_stays_exact() -> None:
    """A change of ints stays exact and beyond 64 bits becomes a float."""
    counts = state([(0, 2**53), (5, 2**53 + 1), (9, -(2**63)), (10, 2**63 - 1)], "numeric")
    assert counts.change("s", 5, 6).change == 1
    assert counts.change("s", 10, 11).change == float(2**64 - 1)


def test_boolean_change_is_the_time_true_in_seconds() -> None:
    answers = flags([(0, False), (10, True), (12.5, False), (20, True)])
    assert answers.change("s", 0, 30).model_dump() == {
        "key": "s",
        "start": 0,
        "end": 30,
        "kind": "boolean",
        "change": 12.5,
    }
    assert answers.change("s", -50, 0).change == 0
    assert answers.change("s", 11, 12).change == 1
    assert type(answers.change("s", 11, 12).change) is int


def test_state_change_is_time_per_value() -> None:
    """State change is time per value in the order they appear with unknown time under null."""
    answer = state([(5, None), (6, "x"), (8, "y"), (9.5, "x")]).change("s", 0, 12).model_dump()
    assert answer == {
        "key": "s",
        "start": 0,
        "end": 12,
        "kind": "state",
        "seconds_by_value": [
            {"value": None, "seconds": 6},
            {"value": "x", "seconds": 4.5},
            {"value": "y", "seconds": 1.5},
        ],
    }
    assert list(answer) == ["key", "start", "end", "kind", "seconds_by_value"]


def test_values_of_different_types_are_counted_apart() -> None:
    times = state([(0, 1), (1, True), (3, 1.0), (6, "1"), (10, 1)]).change("s", 0, 11).seconds_by_value
    assert [(type(t.value), t.seconds) for t in times] == [(int, 2), (bool, 2), (float, 3), (str, 4)]


def test_intervals_are_aligned_to_the_epoch() -> None:
    """Intervals are aligned to the epoch and cut to the range."""
    answers = PLAYED.change_every("s", 12, 25, "10s")
    assert [(a.start, a.end, a.change) for a in answers] == [(12, 20, 3), (20, 25, 2)]
    assert intervals(-25, 5, 10) == [(-25, -20), (-20, -10), (-10, 0), (0, 5)]
    assert intervals(10, 30, 10) == [(10, 20), (20, 30)]
    assert intervals(11, 12, 10) == [(11, 12)]
    assert intervals(10, 10, 10) == []


@given(st.integers(-500, 500), st.integers(0, 500), st.integers(1, 60))
def test_intervals_cover_the_range_without_gaps(start: int, length: int, every: int) -> None:
    """Intervals cover the range without gaps and their changes add up."""
    cut = intervals(start, start + length, every)
    assert all(a < b and a // every == (b - 1) // every for a, b in cut)
    assert sum(b - a for a, b in cut) == length
    played = PLAYED.change_every("s", start, start + length, every)
    whole = PLAYED.change("s", start, start + length).change
    assert sum(a.change or 0 for a in played) == (whole or 0)


@pytest.mark.parametrize(
    ("every", "micros"),
    [("1m", 60 * SECOND), (60, 60 * SECOND), (0.25, 250_000), ("250ms", 250_000), ("10", 10 * SECOND)],
)
def test_an_interval_is_text_or_seconds(every: Any, micros: int) -> None:
    """An interval is a duration in text or a number of seconds."""
    assert duration(every) == micros


@pytest.mark.parametrize("every", ["", "5 fortnights", 0, -1, "0s", True, None, 1e-9, float("nan")])
def test_any_other_interval_is_a_question_error(every: Any) -> None:
    with pytest.raises(QuestionError):
        duration(every)


def test_too_many_intervals_are_refused() -> None:
    """A question for too many intervals is refused before any is made."""
    with pytest.raises(QuestionError, match="over 100,000 intervals"):
        PLAYED.change_every("s", 0, 10**9, "1us")


@pytest.mark.parametrize("ask", ["spans", "change"])
def test_a_backward_range_is_an_error(ask: str) -> None:
    """A range that ends before it starts is an error."""
    with pytest.raises(QuestionError, match=r"\[20, 12\) ends before it starts"):
        getattr(PLAYED, ask)("s", 20, 12)


def test_an_answer_is_final_below_the_watermark() -> None:
    """An answer is final below the watermark only and says so where there is one."""
    answers = linear([(0, 0, 1)], watermark=20 * SECOND)
    assert answers.value_at("s", 19).final
    assert not answers.value_at("s", 20).final
    assert answers.spans("s", 0, 20).model_dump()["final"] is True
    assert answers.spans("s", 0, 20.000001).model_dump()["final"] is False
    assert answers.change("s", 0, 20).model_dump()["final"] is True  # what happens at 20 does not count
    assert answers.change("s", 0, 20.000001).model_dump()["final"] is False
    assert flags([(0, True)], watermark=20 * SECOND).change("s", 0, 20).model_dump()["final"] is True


def test_times_come_back_in_the_unit_asked_with() -> None:
    answer = state([(0, "x"), (1.5, "y")], unit="iso").value_at("s", "1970-01-01T00:00:01Z")
    assert (answer.at, answer.since, answer.until) == (
        "1970-01-01T00:00:01Z",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:01.500000Z",
    )
    assert state([(0, "x"), (1.5, "y")], unit="ms").value_at("s", 3).until == 1500
    assert state([(0, "x"), (1.5, "y")], unit="ns").value_at("s", 3).until == 1_500_000_000


def test_an_unknown_key_names_the_nearest() -> None:
    """An unknown key is an error that names it and the nearest."""
    pieces = Timeline(np.array([0, 1, 1, 1]), np.array([0]), Flags(np.array([True])))
    answers = Reader(pieces, ["session-1", 7, "9"], "boolean", FLAG, unit="s")
    for key, words in (
        ("sesion-1", "'sesion-1'; did you mean 'session-1'"),
        ("7", r"'7'; did you mean 7 \(int\)"),
        (9, r"9; did you mean '9' \(str\)"),
        ("zzz", "'zzz'; there are 'session-1', 7, '9'"),
        (7.0, r"7\.0"),
    ):
        with pytest.raises(UnknownNameError, match=words):
            answers.value_at(key, 0)


def test_no_keys_at_all_is_said() -> None:
    empty = Reader(
        Timeline(np.array([0]), np.array([], np.int64), Flags(np.array([], np.bool_))), [], "boolean", FLAG
    )
    with pytest.raises(UnknownNameError, match="there are none"):
        empty.value_at("s", 0)


def test_a_key_without_pieces_is_unknown_everywhere() -> None:
    nothing = Timeline(np.array([0, 0]), np.array([], np.int64), Tagged.of([]))
    answers = Reader(nothing, ["s"], "state", LEVEL, unit="s")
    assert answers.value_at("s", 0).value is None
    assert answers.spans("s", 0, 9).spans == []
    assert answers.change("s", 0, 9).model_dump()["seconds_by_value"] == [{"value": None, "seconds": 9}]


def test_a_table_of_keys_tells_types_apart() -> None:
    """A table of keys answers as a list of them and tells types apart."""
    table = KeyTable()
    for key in ("1", 1):
        table.intern(key)
    pieces = Timeline(np.array([0, 1, 2]), np.array([0, 0]), Tagged.of(["text", "int"]))
    answers = Reader(pieces, table, "state", LEVEL)
    assert answers.value_at("1", 0).value == "text"
    assert answers.value_at(1, 0).value == "int"
    for other in (1.0, True):
        with pytest.raises(UnknownNameError):
            answers.value_at(other, 0)


def test_groups_are_told_apart_by_type() -> None:
    """Groups of an aggregate are told apart by type and named in the answer."""
    pieces = Timeline(np.arange(5), np.zeros(4, np.int64), Tagged.of([0, 1, 2, 3]))
    answers = Reader(pieces, [None, True, 1, "1"], "numeric", SIZE, aggregate="count")
    assert [answers.value_at(group, 0).value for group in (None, True, 1, "1")] == [0, 1, 2, 3]
    assert list(answers.value_at(None, 0).model_dump())[:3] == ["key", "aggregate", "at"]
    with pytest.raises(UnknownNameError, match=r"no group 1\.0"):
        answers.value_at(1.0, 0)


def test_keys_are_ordered_by_type_then_value() -> None:
    """Keys are ordered null bools numbers by size then strings by code point."""
    ordered = ["", "1", "B", "a", "ä", "\uffff", "\U0001f600"]
    assert in_order([*reversed(ordered), 10, 9, -1, 1.5, True, None]) == [
        None,
        True,
        -1,
        1.5,
        9,
        10,
        *ordered,
    ]
