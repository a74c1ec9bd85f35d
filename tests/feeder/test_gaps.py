"""Messages that are missing in what the broker delivers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from feeder.gaps import TRIES, GapError, Gaps
from feeder.progress import Offset, advancing, gap, minor_of
from timeline_workers.events.batch import Positions


def at(ledger: int, entry: int, index: int = 0) -> Offset:
    return Offset(ledger, minor_of(entry, index))


@pytest.mark.parametrize("after", [None, at(7, 3)])
def test_what_cannot_be_read_is_tried_again_and_gone_beyond_only_when_it_stays_so(
    after: Offset | None,
) -> None:
    gaps = Gaps("t")
    for _ in range(TRIES):
        with pytest.raises(GapError, match="partition 2: nothing was delivered between"):
            gaps.unreadable(2, after, at(7, 5), TimeoutError("slow"))
    assert gaps.passed == 0
    gaps.unreadable(2, after, at(7, 5), TimeoutError("slow"))
    assert gaps.passed == 1


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=12),
    st.none() | st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 2)),
)
def test_a_gap_in_a_batch_is_found_where_two_new_neighbours_do_not_follow_each_other(
    places: list[tuple[int, int, int]], after: tuple[int, int, int] | None
) -> None:
    offsets = [at(*place) for place in places]
    position = Positions(
        np.zeros(len(offsets), np.int32),
        np.array([o.major for o in offsets]),
        np.array([o.minor for o in offsets]),
    )
    new, _ = advancing(position, None if after is None else at(*after))
    kept = [o for o, is_new in zip(offsets, new.tolist(), strict=True) if is_new]
    pairs = [(a, b) for a, b in pairwise(kept) if not a.leads_to(b)]
    assert gap(position, new) == (pairs[0] if pairs else None)
