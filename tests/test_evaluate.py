"""Evaluation in process: the worked example in every form, and what happens to events that are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import timeline_workers
from timeline_workers import evaluate
from timeline_workers.builder import (
    col,
    duration_where,
    has_existed,
    has_existed_within,
    latest_event_to_state,
)
from timeline_workers.errors import ExpressionError, QuestionError, UnknownNameError
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import ColumnSpec

CIRR = """
duration_where(latest_event_to_state(playerStateChange) == "buffer"
    && has_existed(playerStateChange == "play")
    && !has_existed_within(userAction == "seek", 5s)
    && latest_event_to_state(cdnChange) == "CDN1")
"""
PAPER = """
TL_DurationWhere((TL_LatestEventToState(col("playerStateChange")) == "buffer")
    & TL_HasExisted(col("playerStateChange") == "play")
    & ~TL_HasExistedWithin(col("userAction") == "seek", 5s)
    & (TL_LatestEventToState(col("cdnChange")) == "CDN1"))
"""
BUILT = duration_where(
    (latest_event_to_state("playerStateChange") == "buffer")
    & has_existed(col("playerStateChange") == "play")
    & ~has_existed_within(col("userAction") == "seek", "5s")
    & (latest_event_to_state("cdnChange") == "CDN1")
)
COLUMNS = ("playerStateChange", "userAction", "cdnChange")
EXAMPLE: list[dict[str, Any]] = [
    {"session": "s1", "timestamp": t, column: value}
    for t, column, value in (
        (0, "playerStateChange", "init"),
        (1, "cdnChange", "CDN1"),
        (2, "playerStateChange", "play"),
        (10, "playerStateChange", "buffer"),
        (14, "userAction", "seek"),
        (22, "playerStateChange", "play"),
        (25, "playerStateChange", "pause"),
        (30, "cdnChange", "CDN2"),
        (40, "playerStateChange", "buffer"),
        (45, "playerStateChange", "play"),
    )
]
WIDE = [dict.fromkeys(COLUMNS) | row for row in EXAMPLE]

FORMS: dict[str, Callable[[], Any]] = {
    "a list of dicts": lambda: EXAMPLE,
    "a generator of dicts": lambda: iter(EXAMPLE),
    "JSON texts": lambda: [json.dumps(row) for row in EXAMPLE],
    "JSON bytes": lambda: [json.dumps(row).encode() for row in EXAMPLE],
    "shuffled dicts": lambda: EXAMPLE[::-1],
    "arrow": lambda: pa.Table.from_pylist(WIDE),
    "pandas": lambda: pd.DataFrame(EXAMPLE),
    "polars": lambda: pl.DataFrame(WIDE),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_worked_example_has_the_documented_answers(form: str) -> None:
    """The worked example has exactly the documented answers in every form of events."""
    result = evaluate(CIRR, FORMS[form](), key="session", time="timestamp")
    assert result.rejected == []
    assert result.keys() == ["s1"]
    assert [result.value_at("s1", t).value for t in (10, 14, 19, 22, 45)] == [0, 4, 4, 7, 7]
    assert result.value_at("s1", 20).model_dump() == {
        "key": "s1",
        "at": 20,
        "value": 5,
        "since": 19,
        "until": 22,
        "slope": 1,
        "final": False,
    }
    assert result.change("s1", 12, 20).model_dump() == {  # type: ignore[union-attr]
        "key": "s1",
        "start": 12,
        "end": 20,
        "kind": "numeric",
        "change": 3,
    }
    assert [a.change for a in result.change("s1", 0, 60, every="20s")] == [5, 2, 0]  # type: ignore[union-attr]
    assert result.spans("s1", 0, 60).model_dump() == {
        "key": "s1",
        "start": 0,
        "end": 60,
        "kind": "numeric",
        "spans": [
            {"start": 0, "end": 10, "value": 0, "slope": 0},
            {"start": 10, "end": 14, "value": 0, "slope": 1},
            {"start": 14, "end": 19, "value": 4, "slope": 0},
            {"start": 19, "end": 22, "value": 4, "slope": 1},
            {"start": 22, "end": 60, "value": 7, "slope": 0},
        ],
    }


def test_events_per_clock_hour_are_all_counted_once() -> None:
    """One at the full hour belongs to the hour that begins, and the key's first event counts."""
    events = [{"k": "c", "t": t, "s": "on"} for t in (0, 1800, 3600, 7200, 7201)]
    counted = evaluate('event_count(s == "on")', events, key="k", time="t")
    hours = counted.change("c", 0, 10800, every="1h")
    assert isinstance(hours, list)
    assert [hour.change for hour in hours] == [2, 1, 2]
    assert counted.change("c", 0, 10800).change == 5  # type: ignore[union-attr]
    assert counted.change("c", 0, 3600).change == 2  # type: ignore[union-attr]
    within = evaluate('event_count_within(s == "on", 1h)', events, key="k", time="t")
    assert within.value_at("c", 7199.999999).value == 1


def test_a_group_that_begins_counts_its_first_key() -> None:
    """The change of an aggregate is that of its timeline: a count is 0 before the group's origin."""
    events = [{"k": k, "t": t, "s": s} for k, t, s in (("a", 0, "x"), ("b", 5, "x"), ("a", 10, "y"))]
    sizes = evaluate(
        'latest_event_to_state(s) == "x" | aggregate(group_by(s), count, avg)', events, key="k", time="t"
    )

    def changes(group: str, function: str) -> list[object]:
        answers = sizes.change(group, 0, 15, every=5, aggregate=function)
        assert isinstance(answers, list)
        return [answer.change for answer in answers]

    assert changes("x", "count") == [1, 1, -1]
    assert changes("y", "count") == [0, 0, 1]
    assert changes("x", "avg") == [0, 0, 0]
    assert changes("y", "avg") == [None, None, 0]


@pytest.mark.parametrize("expression", [PAPER, BUILT, parse(CIRR)], ids=["paper", "built", "tree"])
def test_text_builder_and_tree_answer_alike(expression: Any) -> None:
    """Text in either spelling a built expression and a tree answer alike."""
    result = evaluate(expression, EXAMPLE, key="session", time="timestamp")
    assert [result.value_at("s1", t).value for t in (10, 14, 19, 22, 45)] == [0, 4, 4, 7, 7]


def test_the_parts_of_the_worked_example_are_as_documented() -> None:
    def spans(expression: str) -> list[dict[str, Any]]:
        result = evaluate(expression, EXAMPLE, key="session", time="timestamp")
        return [s for s in result.spans("s1", 0, 60).model_dump()["spans"] if s["value"] is True]

    assert spans('has_existed_within(userAction == "seek", 5s)') == [{"start": 14, "end": 19, "value": True}]
    buffering = [{"start": 10, "end": 22, "value": True}, {"start": 40, "end": 45, "value": True}]
    assert spans('latest_event_to_state(playerStateChange) == "buffer"') == buffering
    assert spans('latest_event_to_state(cdnChange) == "CDN1"') == [{"start": 1, "end": 30, "value": True}]


def test_a_state_change_is_seconds_by_value() -> None:
    result = evaluate("latest_event_to_state(playerStateChange)", EXAMPLE, key="session", time="timestamp")
    assert result.change("s1", 0, 30).model_dump() == {  # type: ignore[union-attr]
        "key": "s1",
        "start": 0,
        "end": 30,
        "kind": "state",
        "seconds_by_value": [
            {"value": "init", "seconds": 2},
            {"value": "play", "seconds": 11},
            {"value": "buffer", "seconds": 12},
            {"value": "pause", "seconds": 5},
        ],
    }


@pytest.mark.parametrize(
    ("unit", "times", "at"),
    [
        ("s", [0, 1.5], 1.5),
        ("ms", [0, 1500], 1500),
        ("us", [0, 1_500_000], 1_500_000),
        ("ns", [0, 1_500_000_000], 1_500_000_000),
        ("iso", ["1970-01-01", "1970-01-01T01:00:01.5+01:00"], "1970-01-01T00:00:01.500000Z"),
    ],
)
def test_answers_are_in_the_unit_of_the_events(unit: str, times: list[Any], at: Any) -> None:
    events = [{"k": 1, "t": t, "v": i} for i, t in enumerate(times)]
    answer = evaluate("latest_event_to_state(v)", events, key="k", time="t", time_unit=unit).value_at(1, at)
    assert (answer.at, answer.since, answer.value) == (at, at, 1)


def test_a_crossing_shows_at_the_next_microsecond() -> None:
    """A crossing between two microseconds shows at the next one."""
    events = [{"k": "s", "t": 0, "x": 1}]
    below = "duration_in_cur_state(latest_event_to_state(x)) * 3 < 0.000001"
    result = evaluate(below, events, key="k", time="t", time_unit="us")
    assert [result.value_at("s", t).value for t in (0, 1)] == [True, False]
    equal = evaluate(
        "duration_in_cur_state(latest_event_to_state(x)) == 2s", events, key="k", time="t", time_unit="us"
    )
    assert [s.value for s in equal.spans("s", 1_999_999, 2_000_002).spans] == [False, True, False]
    assert equal.spans("s", 0, 9_000_000).spans[1].model_dump() == {
        "start": 2_000_000,
        "end": 2_000_001,
        "value": True,
    }


@pytest.mark.parametrize("value", [True, 1, 1.0, 2**63 - 1, 0.1, "1", ""])
def test_values_keep_their_types_from_event_to_answer(value: Any) -> None:
    events = [{"k": "s", "t": 0, "v": value}]
    for form in (events, pa.Table.from_pylist(events), pd.DataFrame(events), pl.DataFrame(events)):
        found = evaluate("latest_event_to_state(v)", form, key="k", time="t").value_at("s", 0).value
        assert found == value
        assert type(found) is type(value)


def test_at_one_instant_the_later_input_counts() -> None:
    """Of two events at one instant a state takes the later in the input."""
    events = [{"k": "s", "t": 0, "v": v} for v in ("a", "b", "c")]
    assert evaluate("latest_event_to_state(v)", events, key="k", time="t").value_at("s", 0).value == "c"


def test_every_key_is_known_and_in_order() -> None:
    """Every key of the source is known also where nothing matched and keys are in order."""
    events = [{"k": k, "t": 0} for k in ("b", 10, "10", 9, "a")]
    result = evaluate('has_existed(x == "y")', events, key="k", time="t")
    assert result.keys() == [9, 10, "10", "a", "b"]
    assert result.value_at("10", 5).value is False
    with pytest.raises(UnknownNameError, match="no key 'c'"):
        result.value_at("c", 0)


def test_a_key_by_text_is_string_or_int() -> None:
    """Keys named by text are the string and the int."""
    result = evaluate("has_existed(x == 1)", [{"k": k, "t": 0} for k in (10, "10", "b")], key="k", time="t")
    assert result.named("10") == [10, "10"]
    assert result.named("b") == ["b"]
    with pytest.raises(UnknownNameError, match="no key '11'"):
        result.named("11")


def test_bad_events_take_no_part_and_are_listed() -> None:
    """Bad events take no part raise nothing and are listed with their row."""
    events: list[Any] = [
        {"k": "s", "t": 0, "x": "a"},
        {"k": "s", "t": "noon", "x": "b"},
        '{"k": ',
        {"k": "s", "t": 1, "x": 5},
        {"t": 1},
        {"k": "s", "t": 2, "x": "c"},
    ]
    result = evaluate('latest_event_to_state(x) == "c"', events, key="k", time="t")
    assert [(r.row, r.reason) for r in result.rejected] == [
        (1, "bad-time"),
        (2, "malformed-json"),
        (3, "wrong-type"),
        (4, "missing-key"),
    ]
    assert result.accepted == 2
    assert [result.value_at("s", t).value for t in (0, 1, 2)] == [False, False, True]


def test_declared_columns_are_checked_in_every_event() -> None:
    """Declared columns are checked in the expression and in every event."""
    columns = {"x": ColumnSpec(type="int", path="a.x"), "y": ColumnSpec(type="string")}
    with pytest.raises(ExpressionError):
        evaluate('latest_event_to_state(x) == "c"', [], key="k", time="t", columns=columns)
    events = [{"k": 1, "t": 0, "a": {"x": 5}}, {"k": 1, "t": 1, "a": {"x": 6}, "y": 7}]
    result = evaluate("latest_event_to_state(x)", events, key="k", time="t", columns=columns)
    assert result.value_at(1, 9).value == 5
    assert [r.reason for r in result.rejected] == ["wrong-type"]


def test_mistakes_in_the_call_are_errors() -> None:
    """Mistakes in the call are errors and no empty answers."""
    with pytest.raises(ExpressionError):
        evaluate("duration_were(x)", EXAMPLE, key="session", time="timestamp")
    with pytest.raises(ExpressionError, match="not a int"):
        evaluate(5, EXAMPLE, key="session", time="timestamp")  # type: ignore[arg-type]
    with pytest.raises(QuestionError, match="'sec' is not a time unit"):
        evaluate(CIRR, EXAMPLE, key="session", time="timestamp", time_unit="sec")
    with pytest.raises(QuestionError, match="events are one dict"):
        evaluate(CIRR, EXAMPLE[0], key="session", time="timestamp")
    with pytest.raises(QuestionError, match="no column 'sesion'"):
        evaluate(CIRR, pa.Table.from_pylist(WIDE), key="sesion", time="timestamp")
    with pytest.raises(UnknownNameError, match="there are none"):
        evaluate(CIRR, [], key="session", time="timestamp").value_at("s1", 0)


def test_an_aggregate_answers_by_group_and_function() -> None:
    events = [
        {"k": 1, "t": 0, "region": "US", "busy": True},
        {"k": 2, "t": 0, "region": "US", "busy": False},
        {"k": 3, "t": 0, "region": "EU", "busy": True},
        {"k": 4, "t": 0, "busy": True},
        {"k": 1, "t": 5, "region": "EU"},
    ]
    expression = "(latest_event_to_state(busy) == true) | aggregate(group_by(region), count, sum)"
    result = evaluate(expression, events, key="k", time="t")
    groups = result.keys()
    assert groups == [None, "EU", "US"]
    assert result.aggregates == ("count", "sum")

    def values(function: str, at: int) -> list[Any]:
        return [result.value_at(group, at, aggregate=function).value for group in groups]

    assert (values("count", 0), values("count", 5)) == ([1, 1, 2], [1, 2, 1])
    assert (values("sum", 0), values("sum", 5)) == ([1, 1, 1], [1, 2, 0])
    assert result.value_at("EU", 5, aggregate="count").aggregate == "count"
    assert result.named("null") == [None]
    with pytest.raises(QuestionError, match="say which of count, sum"):
        result.value_at("EU", 5)
    with pytest.raises(UnknownNameError, match="no group 'UK'"):
        result.value_at("UK", 5, aggregate="sum")


def test_the_arrow_table_has_every_piece_with_types_kept() -> None:
    def moment(second: float) -> datetime:
        return datetime.fromtimestamp(second, UTC)

    table = evaluate(CIRR, EXAMPLE, key="session", time="timestamp").to_arrow()
    assert table.to_pylist() == [
        {"key": "s1", "start": moment(a), "end": moment(b) if b else None, "value": value, "slope": slope}
        for a, b, value, slope in (
            (0, 10, 0, 0),
            (10, 14, 0, 1),
            (14, 19, 4, 0),
            (19, 22, 4, 1),
            (22, 0, 7, 0),
        )
    ]
    assert table.schema.field("value").type == pa.int64()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, 2], pa.int64(), [1, 2]),
        (["x", "y"], pa.string(), ["x", "y"]),
        ([True, False], pa.bool_(), [True, False]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**53 + 1, 2.5], pa.string(), [str(2**53 + 1), "2.5"]),
        ([1, "ä", True], pa.string(), ["1", '"ä"', "true"]),
    ],
)
def test_an_arrow_column_has_one_type_where_values_have(
    values: list[Any], kind: Any, expected: list[Any]
) -> None:
    """A column of the arrow table has one type where all values have."""
    events = [{"k": "s", "t": t, "v": v} for t, v in enumerate(values)]
    table = evaluate("latest_event_to_state(v)", events, key="k", time="t").to_arrow()
    assert table.schema.field("value").type == kind
    assert table.column("value").to_pylist() == expected


def test_the_arrow_table_names_the_key_of_pieces() -> None:
    """The arrow table of several keys and of aggregates says whose each piece is."""
    events = [{"k": k, "t": t, "g": g} for k, t, g in ((1, 0, "a"), ("x", 1, "b"), (1, 2, "b"))]
    states = evaluate("latest_event_to_state(g)", events, key="k", time="t").to_arrow()
    assert list(zip(states.column("key").to_pylist(), states.column("value").to_pylist(), strict=True)) == [
        ("1", "a"),
        ("1", "b"),
        ('"x"', "b"),
    ]
    groups = evaluate(
        "latest_event_to_state(g) | aggregate(group_by(g), count)", events, key="k", time="t"
    ).to_arrow()
    rows = [(r["key"], r["aggregate"], r["start"].second, r["value"]) for r in groups.to_pylist()]
    assert sorted(rows) == [
        ("a", "count", 0, 1),
        ("a", "count", 2, 0),
        ("b", "count", 1, 1),
        ("b", "count", 2, 2),
    ]


def test_the_package_offers_what_it_says() -> None:
    """The package offers what it says and nothing is missing."""
    for name in timeline_workers.__all__:
        assert getattr(timeline_workers, name).__name__ == name
    assert callable(timeline_workers.evaluate)
    with pytest.raises(AttributeError, match="evaluat1"):
        timeline_workers.evaluat1  # noqa: B018


def test_the_arrow_table_of_no_events_is_empty() -> None:
    for expression in (CIRR, "latest_event_to_state(x)", "has_existed(x == 1)"):
        assert evaluate(expression, [], key="k", time="t").to_arrow().num_rows == 0


def test_compared_columns_are_of_one_type() -> None:
    """Undeclared columns of one event that do not compare make it a bad event, by whichever operator."""
    for expression, a, b in [
        ("has_existed(a == b)", 1, "1"),
        ("has_existed(a != b)", True, 1),
        ("has_existed(a < b)", False, True),
        ("latest_event_to_state(a) != latest_event_to_state(b)", 1, "2"),
    ]:
        result = evaluate(expression, [{"k": "x", "t": 0, "a": a, "b": b}], key="k", time="t")
        assert [reject.reason for reject in result.rejected] == ["wrong-type"], expression
    fine = [{"k": "x", "t": 0, "a": 1, "b": 1.0}, {"k": "x", "t": 1, "a": "1"}, {"k": "x", "t": 2, "b": "2"}]
    assert not evaluate("has_existed(a <= b)", fine, key="k", time="t").rejected


def test_a_question_sees_nothing_of_the_next_microsecond() -> None:
    """A question about instant t sees what happened at or before t."""
    result = evaluate("event_count(a == 1)", [{"k": "x", "t": 2, "a": 1}], key="k", time="t", time_unit="us")
    assert result.value_at("x", 1.9).value is None
    assert result.value_at("x", 2.9).value == 1


def test_dividing_by_a_constant_zero_is_unknown() -> None:
    """A divisor of 0 makes the result unknown, and a comparison with it False."""
    events = [{"k": "x", "t": 0, "a": 1}]
    assert evaluate("latest_event_to_state(a) / 0", events, key="k", time="t").value_at("x", 1).value is None
    duration = "duration_where(latest_event_to_state(a) == 1) / 0 != 1"
    assert evaluate(duration, events, key="k", time="t").value_at("x", 1).value is False


def test_a_column_is_declared_by_its_type_alone() -> None:
    """As in a metric's file; a type that there is not is named with those that there are."""
    events = [{"k": "a", "t": 1, "x": 2}]
    short = evaluate("latest_event_to_state(x)", events, key="k", time="t", columns={"x": "float"})
    assert short.value_at("a", 1).value == 2.0
    with pytest.raises(QuestionError, match="column 'x' is declared 'number'; give a ColumnSpec, or one"):
        evaluate("latest_event_to_state(x)", events, key="k", time="t", columns={"x": "number"})


@pytest.mark.parametrize("name", [None, 3, "i\udcff"])
def test_a_field_that_has_no_name_is_refused(name: Any) -> None:
    for names in ({"key": name, "time": "t"}, {"key": "k", "time": name}):
        with pytest.raises(QuestionError, match="give the name of a field of the events"):
            evaluate("latest_event_to_state(x)", [], **names)
