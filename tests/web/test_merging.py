"""Merging of stretches that are too many to draw: nothing is lost, and what is long stays."""

from __future__ import annotations

import itertools

from hypothesis import given, strategies as st

from timeline_workers.web.merging import Stretch, merge

Lengths = st.lists(st.integers(1, 60), max_size=80)


@given(Lengths, st.integers(10, 40), st.integers(-20, 20), st.booleans())
def test_merged_stretches_cover_what_they_stand_for(
    lengths: list[int], most: int, begins: int, lasts: bool
) -> None:
    ends = list(itertools.accumulate(lengths, initial=begins))
    found = [
        Stretch(start, end, number % 3, None) for number, (start, end) in enumerate(itertools.pairwise(ends))
    ]
    if lasts and found:
        found[-1] = found[-1]._replace(end=None)
    start, end = 0, max(ends[-1], 1)
    merged = merge(found, start, end, most)
    width = -(-(end - start) // (most // 2))
    assert sum(one.merged for one in merged) == len(found)
    assert len(merged) <= max(most, len([one for one in found if one.end is None or one.start < start])) + 2
    rest = iter(found)
    for one in merged:
        members = list(itertools.islice(rest, one.merged))
        assert (one.start, one.end, one.value) == (members[0].start, members[-1].end, members[-1].value)
        if one.merged > 1:
            assert one.end is not None
            assert one.end - one.start <= width
