"""Common pieces and canonical form of timelines, against what they mean instant by instant."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Flags

Rows = list[tuple[int, bool]]
OF_KEY = st.dictionaries(st.integers(0, 9), st.booleans(), max_size=5).map(lambda rows: sorted(rows.items()))
TIMELINE = st.lists(OF_KEY, min_size=4, max_size=4)


def timeline(keys: list[Rows]) -> Timeline:
    flat = [row for rows in keys for row in rows]
    return Timeline(
        np.cumsum([0, *map(len, keys)]),
        np.array([start for start, _ in flat], np.int64),
        Flags(np.array([value for _, value in flat], np.bool_)),
    )


def holding(rows: Rows, at: int) -> int | None:
    """The place of the row that holds at an instant; None before the first."""
    begun = [place for place, (start, _) in enumerate(rows) if start <= at]
    return begun[-1] if begun else None


@given(st.lists(TIMELINE, min_size=2, max_size=3))
def test_common_pieces_hold_the_rows_of_every_timeline(keys: list[list[Rows]]) -> None:
    """Also where a key is not known to one of them, or begins later there."""
    refined = pieces.refine([timeline(one) for one in keys])
    offsets = [np.cumsum([0, *map(len, one)]).tolist() for one in keys]
    expected = []
    for key in range(4):
        for at in sorted({start for one in keys for start, _ in one[key]}):
            found = [holding(one[key], at) for one in keys]
            if None not in found:
                expected.append(
                    (key, at, [base[key] + (row or 0) for base, row in zip(offsets, found, strict=True)])
                )
    rows = np.stack(refined.rows, axis=1).tolist() if len(refined.starts) else []
    assert list(zip(refined.key.tolist(), refined.starts.tolist(), rows, strict=True)) == expected


@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6), min_size=1, max_size=4))
def test_canonical_form_says_the_same_in_the_fewest_rows(keys: list[Rows]) -> None:
    """Of rows at one instant the last counts; neighbours that say the same are one row."""
    keys = [sorted(rows, key=lambda row: row[0]) for rows in keys]
    made = pieces.compact(*(lambda t: (t.offsets, t.starts, t.values))(timeline(keys)))
    expected = []
    for rows in keys:
        said: Rows = []
        for start, value in sorted(dict(rows).items()):
            if not said or said[-1][1] != value:
                said.append((start, value))
        expected.append(said)
    assert isinstance(made.values, Flags)
    found = list(zip(made.starts.tolist(), made.values.data.tolist(), strict=True))
    assert [found[a:b] for a, b in zip(made.offsets, made.offsets[1:], strict=False)] == expected
