"""What a store has given out stays as it was, whatever is done to the store afterwards."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from timeline_workers.algebra import pieces
from timeline_workers.algebra.timelines import Timeline
from timeline_workers.algebra.timelinestore import TimelineStore
from timeline_workers.algebra.values import Flags

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
                store.fold(np.full(store.keys, 300, np.int64))
            elif step == "put":
                store.put_rows(keys, suffix)
            else:
                since = suffix.starts[suffix.offsets[:-1]] if len(keys) else keys
                store.replace_suffix(keys, since, suffix)
    for timeline, then in held:
        assert shown(timeline) == then
    assert shown(read_from.timeline()) == shown(never_read.timeline())
