"""Conformance of event tables: each gives what a brute-force reading of all its rows gives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given, settings, strategies as st

from timeline_workers.event_tables.event_table import EventRow, in_order

from .kinds import SECOND, Kind, Stored

few = settings(max_examples=20, deadline=None)
START = 1_700_000_000 * SECOND  # on 2023-11-14, two hours before the next day
times = st.builds(
    lambda whole, part: START + whole * 1800 * SECOND + part,
    st.integers(0, 6),
    st.sampled_from([0, 0, 1000, 250_000, 250_001, SECOND]),
)
instants = st.one_of(times, times.map(lambda t: t - 1), times.map(lambda t: t + 1))


@st.composite
def stored(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Rows: a time, which of the kind's keys, and what is said; many of one instant."""
    many = st.tuples(times, st.integers(0, 3), st.integers(0, 2))
    return draw(st.lists(many, max_size=25))


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int]:
    """A window, most often one that has something."""
    one, other = sorted([draw(instants), draw(instants)])
    return one, draw(st.sampled_from([other, other, START + 10**11]))


def chosen(kind: Kind, places: Sequence[int] | None) -> list[Any] | None:
    """Some keys of a kind, and one that no row has."""
    if places is None:
        return None
    return [key for key in [kind.keys[i % len(kind.keys)] for i in places] if key is not None] + ["none", 9]


def read(kind: Kind, rows: list[Stored], keys: list[Any] | None) -> list[EventRow]:
    """All rows of these keys, in order."""
    known = [kind.expected(row) for row in rows]
    return in_order(row for row in known if keys is None or row.key in keys)


keys_asked = st.none() | st.lists(st.integers(0, 3), max_size=2)


@few
@given(stored(), st.lists(st.tuples(windows(), keys_asked, st.integers(1, 6)), min_size=1, max_size=4))
def test_pages_make_up_the_window(
    kind: Kind, runner: asyncio.Runner, said: list[Any], asked: list[Any]
) -> None:
    rows = [(time, kind.keys[key % len(kind.keys)], n) for time, key, n in said]
    kind.fill(rows)

    async def compare() -> None:
        for (start, end), places, limit in asked:
            keys = chosen(kind, places)
            expected = [row for row in read(kind, rows, keys) if start <= row.time < end]
            found: list[EventRow] = []
            at = start
            while at < end:
                upto, page = await kind.table.rows(at, end, keys=keys, limit=limit)
                assert at < upto <= end
                assert len(page) <= limit or page[0].time == page[-1].time
                assert all(at <= row.time < upto for row in page)
                found += [EventRow(row.time, row.key, {"n": row.payload["n"]}) for row in page]
                at = upto
            assert found == expected

    runner.run(compare())


@few
@given(stored(), keys_asked, st.lists(instants, min_size=2, max_size=6, unique=True), instants)
def test_counts_and_neighbours_are_those_of_rows(
    kind: Kind, runner: asyncio.Runner, said: list[Any], places: Any, edges: list[int], at: int
) -> None:
    rows = [(time, kind.keys[key % len(kind.keys)], n) for time, key, n in said]
    kind.fill(rows)
    keys = chosen(kind, places)
    found = [row.time for row in read(kind, rows, keys)]
    edges.sort()

    async def compare() -> None:
        table = kind.table
        parts = list(pairwise(edges))
        assert await table.counts(edges, keys=keys) == [
            sum(start <= time < end for time in found) for start, end in parts
        ]
        before, after = [time for time in found if time < at], [time for time in found if time > at]
        assert await table.neighbour(at, back=True, keys=keys) == max(before, default=None)
        assert await table.neighbour(at, back=False, keys=keys) == min(after, default=None)
        extent = await table.extent(keys=keys)
        assert extent == ((min(found), max(found)) if found else None)

    runner.run(compare())
