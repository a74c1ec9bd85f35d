"""Messages that are missing in what the broker delivers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from feeder.gaps import TRIES, GapError, Gaps
from feeder.progress import SILENT, Offset, advancing, gap, minor_of
from timeline_workers.events.batch import Positions


def at(ledger: int, entry: int, index: int = 0) -> Offset:
    return Offset(ledger, minor_of(entry, index))


def test_what_follows_or_comes_again_is_no_gap() -> None:
    gaps = Gaps("t")
    for after, first in [
        (None, at(7, 0)),
        (SILENT.offset, at(7, 0)),
        (at(7, 3), at(7, 4)),
        (at(7, 3, 1), at(7, 3, 2)),
        (at(7, 3), at(9, 0)),
        (at(7, 3), at(7, 1)),
    ]:
        gaps.check(0, after, first)
    assert gaps.passed == 0


@pytest.mark.parametrize("first", [at(7, 5), at(7, 4, 1), at(8, 1)])
def test_a_gap_asks_for_a_new_subscription_and_is_gone_beyond_only_when_it_stays(first: Offset) -> None:
    gaps = Gaps("t")
    for _ in range(TRIES):
        with pytest.raises(GapError, match="partition 2: nothing was delivered between 7:3:0 and"):
            gaps.check(2, at(7, 3), first)
    assert gaps.passed == 0
    gaps.check(2, at(7, 3), first)
    assert gaps.passed == 1


@pytest.mark.parametrize("nothing", [None, SILENT.offset])
def test_a_partition_that_nobody_has_read_may_begin_anywhere_after_one_more_look(
    nothing: Offset | None,
) -> None:
    gaps = Gaps("t")
    with pytest.raises(GapError, match="begins at 7:5:0"):
        gaps.check(0, nothing, at(7, 5))
    gaps.check(0, nothing, at(7, 5))
    assert gaps.passed == 0


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
    pairs = [(a, b) for a, b in pairwise(kept) if not a.is_next(b)]
    assert gap(position, new) == (pairs[0] if pairs else None)
