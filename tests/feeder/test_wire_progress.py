"""How far a source is, as leaves and the workers above them tell each other."""

from __future__ import annotations

from hypothesis import given, strategies as st

from timeline_workers.algebra.leaves import Progress
from timeline_workers.wire.leaf import pack_progress, progress_fields, progress_of_fields, unpack_progress
from timeline_workers.wire.progress import later, least

SAID = st.builds(
    Progress,
    st.integers(0, 5),
    st.integers(-1, 9),
    st.integers(-1, 9),
    st.none() | st.integers(-9, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.none() | st.integers(0, 9),
)


@given(st.lists(SAID, max_size=4).map(tuple))
def test_progress_is_read_back_from_a_message_and_from_carried_state(progress: tuple[Progress, ...]) -> None:
    assert unpack_progress(pack_progress(progress)) == progress
    assert progress_of_fields(progress_fields(progress)) == progress


@given(st.lists(SAID, max_size=4).map(tuple))
def test_release_0_1_0_can_read_the_progress_of_a_message(progress: tuple[Progress, ...]) -> None:
    told = progress_fields(progress)["progress"]
    assert told == [(p.partition, p.major, p.minor, p.watermark) for p in progress]


def test_progress_of_release_0_1_0_has_no_counts() -> None:
    assert unpack_progress([(1, 2, 3, None)]) == (Progress(1, 2, 3, None, 0, 0, None),)
    assert progress_of_fields({"progress": [[1, 2, 3, 4]]}) == (Progress(1, 2, 3, 4),)


def test_the_same_place_with_a_greater_watermark_is_later() -> None:
    """A partition that has fallen silent; one that never brought anything has a place, too."""
    told = (Progress(0, 1, 5, 70, 2, 1, 9), Progress(1, -1, -1, 70))
    assert later((Progress(0, 1, 5, 60, 2, 1, 9), Progress(1, -1, -1, None)), told) == told
    assert later(told, (Progress(0, 1, 5, 60, 2, 1, 9), Progress(1, -1, -1, None))) == told


def test_a_watermark_does_not_go_back_when_messages_come() -> None:
    assert later((Progress(0, 1, 5, 70, 2),), (Progress(0, 1, 6, 65, 3),)) == (Progress(0, 1, 6, 70, 3),)
    assert later((Progress(0, 1, 6, 65, 3),), (Progress(0, 1, 5, 70, 2),)) == (Progress(0, 1, 6, 65, 3),)


def test_a_node_has_the_counts_of_the_input_that_is_behind() -> None:
    behind, ahead = Progress(0, 1, 5, 60, 2, 1, 9), Progress(0, 1, 7, 80, 4, 1, 11)
    assert least([(ahead,), (behind,)]) == (behind,)
