"""Boolean timelines together, against what they say instant by instant."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.algebra.test_pieces import TIMELINE, Rows, holding, timeline
from timeline_workers.algebra.timeline import flags
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Flags


def moved(made: Timeline, by: int, stretch: int) -> Timeline:
    return Timeline(made.offsets, made.starts * stretch + by, made.values)


@given(
    st.lists(TIMELINE, min_size=2, max_size=3),
    st.integers(1, 3),
    st.sampled_from([(0, 1), (1_672_531_200_000_000, 1), (-(2**60), 2**57)]),
)
def test_true_while_enough_are(keys: list[list[Rows]], needed: int, scale: tuple[int, int]) -> None:
    """Also where a key is not known to one, or begins later there, and where instants are so far apart that
    they do not fit beside the key."""
    made = flags.at_least(needed, [moved(timeline(one), *scale) for one in keys])
    expected: list[Rows] = []
    for key in range(4):
        said: Rows = []
        for at in sorted({start for one in keys for start, _ in one[key]}):
            found = [holding(one[key], at) for one in keys]
            held = [one[key][row][1] for one, row in zip(keys, found, strict=True) if row is not None]
            if len(held) == len(keys) and (not said or said[-1][1] != (sum(held) >= needed)):
                said.append((at, sum(held) >= needed))
        expected.append([(at * scale[1] + scale[0], value) for at, value in said])
    assert isinstance(made.values, Flags)
    rows = list(zip(made.starts.tolist(), made.values.data.tolist(), strict=True))
    assert [rows[a:b] for a, b in zip(made.offsets[:-1], made.offsets[1:], strict=True)] == expected


@pytest.mark.parametrize("rows", [127, 128, 300])
def test_many_rows_at_the_instant_where_a_timeline_begins(rows: int) -> None:
    """What one of them said before the other began counts by its last row only, however many there were."""
    early = timeline([[(at, at % 2 == 0) for at in range(rows)]])
    late = timeline([[(rows, True), (rows + 1, False)]])
    both, either = (flags.at_least(needed, [early, late]) for needed in (2, 1))
    assert isinstance(both.values, Flags)
    assert isinstance(either.values, Flags)
    last = (rows - 1) % 2 == 0
    assert both.starts.tolist() == ([rows, rows + 1] if last else [rows])
    assert both.values.data.tolist() == ([True, False] if last else [False])
    assert either.starts.tolist() == ([rows] if last else [rows, rows + 1])
    assert either.values.data.tolist() == ([True] if last else [True, False])


def test_no_keys() -> None:
    made = flags.at_least(1, [timeline([]), timeline([])])
    assert (made.offsets.tolist(), len(made)) == ([0], 0)
