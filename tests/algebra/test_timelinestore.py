"""Arrays that a store has lent stay as they were, whatever is done to the store afterwards."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Flags, Linear

KEYS = 40  # enough rows for the ways of many: what is lent, and what is stored without room


def some(random: np.random.Generator, keys: int, since: int) -> Timeline:
    """Rows in turns True and False for each of ``keys`` keys from ``since`` on."""
    counts = random.integers(1, 60, keys)
    offsets = np.append(0, np.cumsum(counts))
    starts = np.concatenate([since + np.sort(random.choice(500, n, replace=False)) for n in counts])
    return Timeline(offsets, starts, Flags(np.arange(len(starts)) % 2 == 0))


def shown(timeline: Timeline) -> tuple[list[int], list[int], list[bool]]:
    assert isinstance(timeline.values, Flags)
    return timeline.offsets.tolist(), timeline.starts.tolist(), timeline.values.data.tolist()


@given(
    st.integers(0, 2**32), st.lists(st.sampled_from(["replace", "more", "fold", "put", "read"]), max_size=8)
)
def test_what_was_read_does_not_change(seed: int, steps: list[str]) -> None:
    """And the store itself is what a store would be of which nobody had read."""
    random = np.random.default_rng(seed)
    read_from, never_read = (TimelineStore(pieces.blank("flags")) for _ in range(2))
    held: list[tuple[Timeline, tuple[list[int], list[int], list[bool]]]] = []
    known = 0
    for step in ["more", "read", *steps]:
        if step == "read":
            everyone = np.arange(known)
            for timeline in (read_from.timeline(), read_from.rows_of(everyone)):
                held.append((timeline, shown(timeline)))
            continue
        if step == "more":
            keys, suffix = np.arange(known, known + KEYS), some(random, KEYS, 0)
            known += KEYS
        else:
            keys = np.flatnonzero(random.random(known) < 0.5)
            suffix = (
                some(random, len(keys), int(random.integers(0, 600)))
                if len(keys)
                else pieces.empty(Flags(np.zeros(0, np.bool_)))
            )
        for store in (read_from, never_read):
            if step == "fold":
                store.compact(np.full(store.keys, 300, np.int64))
            elif step == "put":
                store.put_rows(keys, suffix)
            else:
                since = suffix.starts[suffix.offsets[:-1]] if len(keys) else keys
                store.replace_suffix(keys, since, suffix)
    for timeline, then in held:
        assert shown(timeline) == then
    assert shown(read_from.timeline()) == shown(never_read.timeline())
    for key in range(known):
        assert shown(never_read.one(key)) == shown(never_read.rows_of(np.array([key])))
    assert len(never_read.one(known)) == 0


SPANS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 2)), max_size=6
)  # how long after the row before, and what it says


def lines(keys: list[list[tuple[int, int]]], since: list[int], begins: list[bool]) -> Timeline:
    """Durations by key, from ``since`` on, or later unless ``begins``; neighbours never say the same."""
    offsets, starts, num, slopes = [0], [], [], []
    for rows, at, begin in zip(keys, since, begins, strict=True):
        value, slope = 0, -1
        for place, (gap, said) in enumerate(rows):
            step = 0 if begin and not place else gap
            at += step
            value += max(slope, 0) * step
            if said == slope:
                value += 1  # a jump
            slope = said
            starts.append(at)
            num.append(value)
            slopes.append(slope)
        offsets.append(len(starts))
    known = np.ones(len(starts), np.bool_)
    return Timeline(
        np.array(offsets),
        np.array(starts, np.int64),
        Linear(known, *(np.array(x, np.int64) for x in (num, slopes))),
    )


def pieces_by_key(timeline: Timeline) -> list[list[tuple[int, int, int]]]:
    assert isinstance(timeline.values, Linear)
    rows = list(
        zip(
            timeline.starts.tolist(),
            timeline.values.num.tolist(),
            timeline.values.slope.tolist(),
            strict=True,
        )
    )
    return [rows[a:b] for a, b in zip(timeline.offsets[:-1], timeline.offsets[1:], strict=True)]


@given(
    st.lists(
        st.tuples(SPANS, st.integers(-3, 12), SPANS, st.booleans(), st.booleans()), min_size=2, max_size=5
    ),
    st.booleans(),
)
def test_what_is_replaced_is_what_really_changed(
    keys: list[tuple[list[tuple[int, int]], int, list[tuple[int, int]], bool, bool]], everyone: bool
) -> None:
    """Some suffixes go on as what is held does, for some rows; some keys are unknown, or begin later."""
    held = lines([one for one, *_ in keys], [0] * len(keys), [True] * len(keys))
    stores = [TimelineStore(pieces.blank("linear")) for _ in range(3)]
    for store in stores:
        store.put_rows(np.arange(len(keys)), held)
    chosen = np.flatnonzero([everyone or place % 2 == 0 for place in range(len(keys))])
    times = np.array([at for _, at, *_ in keys], np.int64)[chosen]
    suffix = lines(
        [keys[key][2] for key in chosen.tolist()], times.tolist(), [keys[key][3] for key in chosen.tolist()]
    )
    if not len(held):
        return
    # As computed anew from the same inputs: for some keys the rows are those that are held, to some end.
    again = pieces.cut(held, chosen, times)
    parts = [
        own[: len(keys[key][2]) + 1] if keys[key][4] else new
        for key, own, new in zip(chosen.tolist(), pieces_by_key(again), pieces_by_key(suffix), strict=True)
    ]
    flat = [row for rows in parts for row in rows]
    suffix = Timeline(
        np.cumsum([0, *map(len, parts)]),
        np.array([start for start, _, _ in flat], np.int64),
        Linear(
            np.ones(len(flat), np.bool_),
            np.array([num for _, num, _ in flat], np.int64),
            np.array([slope for _, _, slope in flat], np.int64),
        ),
    )
    stores[0].replace_suffix(chosen, times, suffix)
    place = stores[1].place(chosen, times)
    assert (place is None) == all(not keys[key][0] for key in chosen.tolist())
    if place is None:
        return
    rows, since, news = stores[1].replace_from(place, suffix)
    stores[2].replace_suffix(chosen[rows], since, news)
    expected = pieces_by_key(stores[0].timeline())
    assert pieces_by_key(stores[1].timeline()) == expected
    assert pieces_by_key(stores[2].timeline()) == expected
    before = pieces_by_key(held)
    changed = {key for key in range(len(keys)) if before[key] != expected[key]}
    assert changed <= set(chosen[rows].tolist())
    for key, instant in zip(chosen[rows].tolist(), since.tolist(), strict=True):
        assert {row for row in before[key] if row[0] < instant} <= set(expected[key])
