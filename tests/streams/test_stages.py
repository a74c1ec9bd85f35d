"""Stateless operators over batches give what a reading of one event at a time gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.values import Tagged
from timeline_workers.language.scalar_check import check_scalar
from timeline_workers.language.scalar_parser import parse_scalar, scalar_text
from timeline_workers.streams.scalar_kernels import stable_hash
from timeline_workers.streams.stream_stages import (
    Discard,
    StreamBatch,
    Tap,
    derive,
    rows_of,
    sample,
    split,
    where,
)

from . import reading

Event = dict[str, Any]
COLUMNS = {"x": "number", "y": "number", "s": "string", "r": "string", "b": "bool"}
floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
decimals = st.integers(-10_000, 10_000).map(lambda x: x / 1000)
numbers = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), decimals, floats)
texts = st.text("aB ,ß", max_size=5)
EVENTS = st.fixed_dictionaries(
    {},
    optional={"x": numbers, "y": numbers, "s": texts, "r": texts, "b": st.booleans()},
)
TIMES = st.integers(-(2**50), 2**51)

NUMBERS = st.recursive(
    st.sampled_from(["x", "y", "0", "1.5", "len(s)", "hour_of_day()", 'day_of_week("Asia/Kathmandu")']),
    lambda n: st.one_of(
        st.tuples(n, st.sampled_from("+-*/"), n)
        .filter(lambda p: p[1:] != ("/", "0"))
        .map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        n.map("abs({})".format),
        n.map("round({})".format),
        st.tuples(n, st.integers(0, 15)).map(lambda p: f"round({p[0]}, {p[1]})"),
        n.map("floor({})".format),
        n.map("ceil({})".format),
        st.tuples(n, n, n).map(lambda p: "min({}, {}, {})".format(*p)),
        st.tuples(n, n).map(lambda p: "max({}, {})".format(*p)),
        st.tuples(n, n, n).map(lambda p: "clamp({}, {}, {})".format(*p)),
        st.tuples(n, n).map(lambda p: "coalesce({}, {})".format(*p)),
        st.tuples(n, n).map(lambda p: "if({} > x, y, {})".format(*p)),
    ),
    max_leaves=4,
)
STRINGS = st.recursive(
    st.sampled_from(["s", "r", '"aB"', "concat(x, b, s)"]),
    lambda t: st.one_of(
        t.map("upper({})".format),
        t.map("lower({})".format),
        t.map("trim({})".format),
        st.tuples(t, st.sampled_from([1, 2, -1, -2])).map(lambda p: f'split({p[0]}, ",", {p[1]})'),
        st.tuples(t, t).map(lambda p: "concat({}, {})".format(*p)),
        st.tuples(t, t).map(lambda p: "coalesce({}, {})".format(*p)),
    ),
    max_leaves=4,
)
CONDITIONS = st.recursive(
    st.one_of(
        st.just("b"),
        st.tuples(NUMBERS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.just("y")).map(" ".join),
        st.tuples(STRINGS, st.sampled_from(["==", "!=", "<", ">="]), st.just("r")).map(" ".join),
        st.tuples(STRINGS, STRINGS).map(lambda p: "contains({}, {})".format(*p)),
        st.tuples(STRINGS, STRINGS).map(lambda p: "starts_with({}, {})".format(*p)),
        st.tuples(STRINGS, STRINGS).map(lambda p: "ends_with({}, {})".format(*p)),
        NUMBERS.map("{} in [0, 1, 1.5, 9007199254740993]".format),
        STRINGS.map('{} in ["a", ""]'.format),
    ),
    lambda c: st.one_of(
        c.map("!({})".format),
        st.tuples(c, st.sampled_from(["&&", "||"]), c).map(lambda p: "({} {} {})".format(*p)),
    ),
    max_leaves=4,
)


def batch_of(
    events: list[Event], times: list[int] | None = None, keys: list[Any] | None = None
) -> StreamBatch:
    """Events with all columns; a key each of its own unless given."""
    count = len(events)
    names = list(dict.fromkeys(keys or [f"k{i}" for i in range(count)]))
    codes = np.array([names.index(key) for key in keys] if keys else range(count), np.int32)
    columns = {name: Tagged.of([event.get(name) for event in events]) for name in COLUMNS}
    at = np.array(times or range(count), np.int64)
    return StreamBatch.of("bets", EventBatch(names, codes, at, Positions.in_input(0, count), columns))


def same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and a == b)


@given(st.one_of(NUMBERS, STRINGS, CONDITIONS), st.lists(st.tuples(EVENTS, TIMES), min_size=1, max_size=6))
def test_derive_is_the_reading_of_each_event(text: str, given_: list[tuple[Event, int]]) -> None:
    """Values and types, missing ones, 64 bits and halves included; and one spelling means the same."""
    tree = parse_scalar(text)
    assert parse_scalar(scalar_text(tree)) == tree
    check_scalar(tree, COLUMNS, text=text)  # type: ignore[arg-type]
    events, times = [event for event, _ in given_], [time for _, time in given_]
    found = [row["z"] for row in rows_of(derive(batch_of(events, times), {"z": tree}))]
    expected = [reading.value(tree, *one) for one in given_]
    assert all(map(same, found, expected)), (found, expected)


@given(CONDITIONS, CONDITIONS, st.lists(EVENTS, max_size=8), st.integers(0, 8))
def test_where_and_split_in_any_batch_cuts(first: str, second: str, events: list[Event], cut: int) -> None:
    """Each event passes, or goes into one branch, as its own reading says, with its key and time."""
    conditions = {"one": parse_scalar(first), "two": parse_scalar(second)}
    whole = batch_of(events)
    passed, branches = [], dict[str, list[Any]]()
    for part in (range(min(cut, len(events))), range(min(cut, len(events)), len(events))):
        some = batch_of([events[i] for i in part], list(part), [f"k{i}" for i in part])
        kept = where(some, conditions["one"])
        assert sorted(kept.events.keys) == sorted({row["key"] for row in rows_of(kept)})
        passed += list(rows_of(kept))
        for name, branch in split(some, conditions, "rest").items():
            branches.setdefault(name, []).extend(rows_of(branch))
    expected: dict[str, list[Any]] = {"one": [], "two": [], "rest": []}
    for event, row in zip(events, rows_of(whole), strict=True):
        name = next((n for n, c in conditions.items() if reading.holds(c, event, row["at"])), "rest")
        expected[name].append(row)
    assert passed == expected["one"]
    assert branches == expected


@given(st.integers(2, 5), st.lists(st.integers(0, 30), min_size=1), st.booleans())
def test_sample_takes_whole_keys(one_in: int, keys: list[int], by: bool) -> None:
    """An event is in a sample by itself: whatever else is in the batch, and all of its key or none."""
    names = [f"k{key}" for key in keys]
    batch = batch_of([{"s": name} for name in names], keys=names)
    found = [row["at"] for row in rows_of(sample(batch, one_in, ["s"] if by else []))]
    wanted = [at for at, name in enumerate(names) if stable_hash("sample", name) % one_in == 0]
    assert found == wanted


def test_a_hash_is_the_same_for_ever() -> None:
    """It is in what is derived and sampled, so no release may change it; equal numbers have one hash."""
    assert stable_hash("a") == HASH_OF_A
    assert stable_hash(1) == stable_hash(1.0) != stable_hash("1")
    assert stable_hash("a", "bc") != stable_hash("ab", "c")


HASH_OF_A = 8971770946745180484


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("round(2.5)", 2),
        ("round(2.675, 2)", 2.67),
        ("round(x * (odds - 1), 2)", 23.0),
        ('matches(s, "^a+b")', True),
        ("distance(52.52, 13.405, 48.8566, 2.3522)", pytest.approx(877_463, abs=100)),
        ("distance(91, 0, 0, 0)", None),
        ("bucket(s, 10) < 10", True),
        ('hour_of_day("Europe/Berlin")', 1),
        ("day_of_week()", 4),
        ("-9223372036854775807 - 2", -9223372036854775809.0),
    ],
)
def test_scalar_cases(text: str, wanted: Any) -> None:
    batch = batch_of([{"x": 100, "s": "aab"}], [0])
    columns = {**batch.events.columns, "odds": Tagged.of([1.23])}
    events = EventBatch(
        batch.events.keys, batch.events.key, batch.events.time, batch.events.position, columns
    )
    (row,) = rows_of(derive(StreamBatch.of("bets", events), {"z": parse_scalar(text)}))
    assert row["z"] == wanted


def test_a_text_beyond_the_limit_is_missing() -> None:
    """Doubling a text again and again does not fill the memory."""
    columns = {f"c{i}": parse_scalar(f"concat(c{i - 1}, c{i - 1})" if i else "s") for i in range(30)}
    (row,) = rows_of(derive(batch_of([{"s": "a"}]), columns))
    assert len(str(row["c16"])) == 65_536
    assert row["c17"] is None
    assert row["c29"] is None


def test_tap_drops_and_discard_counts() -> None:
    """A tap holds the last few and says how many it has dropped; it holds nothing back."""
    tap, discard = Tap(3), Discard()
    for size in (2, 5, 1):
        batch = batch_of([{"x": size}] * size)
        tap.add(batch)
        discard.add(batch)
    assert [row["x"] for row in tap.take()] == [5, 5, 1]
    assert (tap.seen, tap.dropped, discard.events) == (8, 5, 8)
    assert tap.take() == []
