"""Progress of a source, as leaves and the workers above them send it to each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from timeline_workers.algebra.leaf_input import LeafBatch, Noted, Progress
from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import StateError
from timeline_workers.wire.leaf_batch import (
    decode_leaf_batch,
    encode_leaf_batch,
    pack_noted,
    pack_progress,
    progress_fields,
    progress_of_fields,
    unpack_noted,
    unpack_progress,
)
from timeline_workers.wire.source_progress import later, least

COUNT = st.integers(0, 9)
NOTED = st.builds(Noted, COUNT, COUNT, COUNT, COUNT, COUNT, st.text(max_size=9), st.text(max_size=9))
SAID = st.builds(
    Progress,
    st.integers(0, 5),
    st.integers(-1, 9),
    st.integers(-1, 9),
    st.none() | st.integers(-9, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.none() | st.integers(0, 9),
    NOTED,
)


@given(st.lists(SAID, max_size=4).map(tuple))
def test_progress_is_read_back(progress: tuple[Progress, ...]) -> None:
    """Progress is read back from a message and from carried state."""
    assert unpack_progress(pack_progress(progress)) == progress
    assert progress_of_fields(progress_fields(progress)) == progress


@given(st.lists(SAID, max_size=4).map(tuple))
def test_notes_go_with_batches_and_carried_state(progress: tuple[Progress, ...]) -> None:
    """What is noted goes with a batch and with carried state."""
    nothing = np.zeros(0, np.int64)
    empty = LeafBatch(
        [], nothing, nothing, nothing, Positions(nothing.astype(np.int32), nothing, nothing), None, progress
    )
    noted = [p.noted for p in progress]
    assert [p.noted for p in decode_leaf_batch(encode_leaf_batch(empty)).progress] == noted
    kept = unpack_noted(unpack_progress(pack_progress(progress)), pack_noted(progress))
    assert [p.noted for p in kept] == noted


def test_later_notes_are_left_out_and_wrong_ones_refused() -> None:
    """What a later release notes is left out and what is no note is refused."""
    place = (Progress(0, 1, 2, 3),)
    assert unpack_noted(place, [{"gaps": 2, "later": [1]}])[0].noted == Noted(gaps=2)
    for wrong in ([{"gaps": "2"}], [{"gaps": True}], [{"gap": "x" * 1_001}], [{}, {}], [3]):
        with pytest.raises(StateError):
            unpack_noted(place, wrong)


@given(st.lists(SAID, max_size=4).map(tuple))
def test_release_0_1_0_reads_the_progress(progress: tuple[Progress, ...]) -> None:
    """Release 0 1 0 can read the progress of a message."""
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


def test_a_node_has_the_counts_of_the_input_behind() -> None:
    """A node has the counts of the input that is behind."""
    behind, ahead = Progress(0, 1, 5, 60, 2, 1, 9), Progress(0, 1, 7, 80, 4, 1, 11)
    assert least([(ahead,), (behind,)]) == (behind,)
