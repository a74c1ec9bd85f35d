"""Expressions built in Python are the expressions of the text."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timeline_workers import builder
from timeline_workers.builder import (
    Built,
    changelog,
    col,
    duration_in_cur_state,
    duration_where,
    event_count,
    event_count_within,
    group_by,
    has_existed,
    has_existed_within,
    latest_event_to_state,
)
from timeline_workers.errors import ExpressionError
from timeline_workers.language.parser import parse

x, y = latest_event_to_state("x"), latest_event_to_state("y")
a = has_existed(col("a") == 1)

SAME = [
    (latest_event_to_state("user action"), "latest_event_to_state(`user action`)"),
    (latest_event_to_state(col("x")), "latest_event_to_state(x)"),
    (x == "seek", 'latest_event_to_state(x) == "seek"'),
    (x != 1.5, "latest_event_to_state(x) != 1.5"),
    (x < y, "latest_event_to_state(x) < latest_event_to_state(y)"),
    (x <= -1, "latest_event_to_state(x) <= -1"),
    (x > timedelta(milliseconds=250), "latest_event_to_state(x) > 250ms"),
    (x >= timedelta(minutes=2), "latest_event_to_state(x) >= 2m"),
    # Python itself turns a comparison with the constant on the left around.
    (x > 5, "latest_event_to_state(x) > 5"),
    (x + 1, "latest_event_to_state(x) + 1"),
    (1 + x, "1 + latest_event_to_state(x)"),
    (x - y, "latest_event_to_state(x) - latest_event_to_state(y)"),
    (1 - x, "1 - latest_event_to_state(x)"),
    (x * 2, "latest_event_to_state(x) * 2"),
    (2 * x, "2 * latest_event_to_state(x)"),
    (x / 2, "latest_event_to_state(x) / 2"),
    (2 / x, "2 / latest_event_to_state(x)"),
    (-x, "-latest_event_to_state(x)"),
    ((x == 1) & a, "latest_event_to_state(x) == 1 && has_existed(a == 1)"),
    (a | ~a, "has_existed(a == 1) || !has_existed(a == 1)"),
    (has_existed((col("a") == True) & ~col("b")), "has_existed(a == true && !b)"),  # noqa: E712 - it builds
    (has_existed_within(a, "5s"), "has_existed_within(has_existed(a == 1), 5s)"),
    (has_existed_within(a, 0.1), "has_existed_within(has_existed(a == 1), 100ms)"),
    (has_existed_within(a, timedelta(hours=1)), "has_existed_within(has_existed(a == 1), 1h)"),
    (event_count(col("a")), "event_count(a)"),
    (event_count_within(col("a"), 60), "event_count_within(a, 1m)"),
    (duration_where(changelog("boolean")), "duration_where(changelog(boolean))"),
    (changelog("numeric") > 2, "changelog(numeric) > 2"),
    (duration_where(a), "duration_where(has_existed(a == 1))"),
    (duration_in_cur_state(x), "duration_in_cur_state(latest_event_to_state(x))"),
    (a.aggregate(group_by("r"), "sum", "max"), "has_existed(a == 1) | aggregate(group_by(r), sum, max)"),
]


@pytest.mark.parametrize(("built", "text"), SAME, ids=[text for _, text in SAME])
def test_built_and_written_are_one_tree(built: Built, text: str) -> None:
    """An expression built in Python equals its text, and prints as a text that reads back."""
    assert built.expression == parse(text)
    assert parse(str(built)) == built.expression


def test_the_papers_names_are_the_same_functions() -> None:
    """Each TL_ name is our function."""
    assert builder.TL_LatestEventToState is latest_event_to_state
    assert builder.TL_HasExisted is has_existed
    assert builder.TL_HasExistedWithin is has_existed_within
    assert builder.TL_EventCount is event_count
    assert builder.TL_EventCountWithin is event_count_within
    assert builder.TL_DurationWhere is duration_where
    assert builder.TL_DurationInCurState is duration_in_cur_state


def test_all_that_is_exported_exists() -> None:
    """The list of exports and the module agree."""
    assert [name for name in builder.__all__ if not hasattr(builder, name)] == []


def test_a_built_expression_has_no_truth_value() -> None:
    """bool, and, or, not and chains raise, and say to write & | ~."""
    for wrong in (lambda: bool(a), lambda: a and a, lambda: not a, lambda: 1 < x < 5):
        with pytest.raises(ExpressionError, match="write &"):
            wrong()


def test_a_built_expression_is_not_hashable() -> None:
    """Since == builds, a set or a dict of built expressions would be wrong: it is refused."""
    with pytest.raises(TypeError, match="unhashable"):
        {x}  # noqa: B018 - the set is the test


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: x == float("nan"), "not a finite number"),
        (lambda: x == float("inf"), "not a finite number"),
        (lambda: x == 2**63, "64 bits"),
        (lambda: x == "\ud800", "surrogate"),
        (lambda: x == None, "cannot hold None"),  # noqa: E711 - it builds
        (lambda: x == [1], r"cannot hold \[1\]"),
        (lambda: col(""), "cannot be empty"),
        (lambda: col(5), "a column name is a string"),  # type: ignore[arg-type]
        (lambda: latest_event_to_state(a), "needs a column"),
        (lambda: has_existed_within(a, 0), "longer than 0"),
        (lambda: has_existed_within(a, "0s"), "longer than 0"),
        (lambda: has_existed_within(a, timedelta(seconds=-1)), "longer than 0"),
        (lambda: has_existed_within(a, "5 parsecs"), "not a duration"),
        (lambda: has_existed_within(a, 1e-7), "whole number of microseconds"),
        (lambda: has_existed_within(a, float("nan")), "a window is a duration"),
        (lambda: has_existed_within(a, True), "a window is a duration"),
        (lambda: has_existed_within(a, "9999999d"), "10,000 years"),
        (lambda: a.aggregate(group_by("r")), "at least one function"),
        (lambda: a.aggregate(group_by("r"), "mean"), "expected one of count"),
        (lambda: a.aggregate(group_by("r"), "sum", "sum"), "twice"),
        (lambda: a.aggregate("r", "sum"), "needs group_by"),  # type: ignore[arg-type]
        (lambda: ~a.aggregate(group_by("r"), "sum"), "last step"),
    ],
)
def test_what_cannot_be_an_expression_is_refused(wrong: object, message: str) -> None:
    """A mistake in Python is an ExpressionError that names the value and the rule."""
    assert callable(wrong)
    with pytest.raises(ExpressionError, match=message):
        wrong()


def test_depth_is_limited() -> None:
    """A loop that nests without end meets the limit, not the interpreter's."""
    deep = a
    for _ in range(97):
        deep = ~deep
    assert parse(str(deep)) == deep.expression
    with pytest.raises(ExpressionError, match="deeper than 100"):
        _ = ~deep


@pytest.mark.parametrize("kind", ["words", "", None, 1])
def test_a_changelog_of_no_kind_is_refused(kind: object) -> None:
    with pytest.raises(ExpressionError, match="the kind of the timeline") as refused:
        changelog(kind)  # type: ignore[arg-type]
    assert refused.value.hint == "one of boolean, state, number, numeric"
