"""Positions, watermarks and where to go on after a restart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from feeder.positions import (
    BEFORE_ALL,
    ENTRY_STEP,
    SILENT,
    Clock,
    Offset,
    Reached,
    advancing,
    minor_of,
    progress_of,
    read_progress,
    resume,
)
from timeline_workers.algebra.leaf_input import Noted, Progress
from timeline_workers.columns.event_batch import Positions
from workflows.worker_status import WorkerStatus


def positions(*places: tuple[int, int, int]) -> Positions:
    columns = list(zip(*places, strict=True))
    return Positions(
        np.array(columns[0], np.int32), np.array(columns[1], np.int64), np.array(columns[2], np.int64)
    )


def at(ledger: int, entry: int, index: int = 0) -> Offset:
    return Offset(ledger, minor_of(entry, index))


@pytest.mark.parametrize(
    ("here", "there", "follows"),
    [
        (at(1, 5, 2), at(1, 5, 3), True),
        (at(1, 5, 2), at(1, 6, 0), True),
        (at(1, 5, 2), at(2, 0, 0), True),
        (at(1, 5, 2), at(1, 5, 4), False),
        (at(1, 5, 2), at(1, 6, 1), False),
        (at(1, 5, 2), at(1, 7, 0), False),
        (at(1, 5, 2), at(1, 5, 2), False),
        (at(1, 5, 2), at(1, 5, 0), False),
        (at(2, 5, 2), at(1, 6, 0), False),
        (at(1, 5, 2), at(2, 3, 0), False),
    ],
)
def test_only_a_place_that_leaves_no_message_out_follows(here: Offset, there: Offset, follows: bool) -> None:
    assert here.is_next(there) is follows
    # Where the ledger changes, another feeder may have fed the rest of the one before.
    assert here.leads_to(there) is (follows and here.major == there.major)


def test_a_message_outside_a_batch_has_index_zero() -> None:
    assert minor_of(7, -1) == 7 * ENTRY_STEP


class TestResume:
    """The watermark before the next message must be the one that stood there before the restart."""

    def test_nothing_known_is_a_new_start(self) -> None:
        assert resume(None, []) is None

    def test_the_journal_counts_whatever_other_leaves_have_had(self) -> None:
        committed = Reached(at(1, 9, 4), 500)
        assert resume(committed, [Reached(at(1, 12), 900), Reached(at(1, 2), 100)]) == committed

    def test_a_leaf_just_before_counts_for_no_commit_leaf(self) -> None:
        """A feeder was killed after it had fed one leaf: the others may lack what lies between."""
        committed = Reached(at(1, 2), 100)
        assert resume(committed, [Reached(at(1, 9, 4), 500)]) == committed

    def test_without_commit_leaf_the_furthest_behind_counts(self) -> None:
        """Without a journal the leaf that is furthest behind counts."""
        least = Reached(at(1, 3), 100)
        assert resume(None, [Reached(at(1, 9, 4), 500), least, Reached(at(1, 13), 800)]) == least
        assert resume(SILENT, [Reached(at(1, 9, 4), 500), least, Reached(at(1, 13), 800)]) == least

    def test_a_worker_that_has_had_nothing_is_furthest_behind(self) -> None:
        assert resume(None, [Reached(at(1, 9, 4), 500), SILENT]) == SILENT
        risen = Reached(SILENT.offset, 70)
        assert resume(risen, [Reached(at(1, 9, 4), 500), SILENT]) == risen

    def test_of_equal_places_the_last_to_hear_counts(self) -> None:
        """Of those in the same place the last to hear of a silent partition counts."""
        told = Reached(at(1, 9, 4), 900)
        assert resume(Reached(at(1, 9, 4), 500), [told]) == told

    def test_a_leaf_without_events_gives_no_watermark(self) -> None:
        """A leaf that knows of no event yet gives no watermark."""
        assert resume(SILENT, []) == SILENT


def test_progress_is_read_from_a_status() -> None:
    """Progress is read from a status and absent while the state is fetched."""
    status = {"state": {"progress": [{"partition": 2, "major": 1, "minor": 9, "watermark": None}]}}
    assert read_progress(WorkerStatus.model_validate(status)) == {2: Reached(Offset(1, 9), None)}
    assert read_progress(WorkerStatus(state=None)) == {}


def test_an_event_below_the_watermark_before_it_is_late() -> None:
    """An event is late strictly below the watermark before it."""
    clock = Clock(allowed_lateness=10)
    places = positions(*((0, 0, i) for i in range(5)))
    said = clock.advance(places, np.array([100, 90, 89, 120, 109]), np.ones(5, np.bool_), 200 + np.arange(5))
    assert said.late.tolist() == [False, False, True, False, True]
    assert clock.reached == {0: Reached(Offset(0, 4), 110, late=2, published=204)}


def test_one_clock_ahead_makes_no_other_event_late() -> None:
    """One clock that is ahead makes no other event late."""
    clock = Clock(allowed_lateness=5, clock_skew=10)
    time = np.array([90, 143, 95, 110, 112, 104])
    published = np.array([100, 100, 101, 102, 100, 103])
    said = clock.advance(positions(*((0, 0, i) for i in range(6))), time, np.ones(6, np.bool_), published)
    # 143 and 112 are further ahead than 10 and raise nothing; 110 raises it as far as its publish time.
    assert said.after.tolist() == [85, 85, 90, 97, 97, 98]
    assert not said.late.any()
    assert said.ahead.tolist() == [False, True, False, False, True, False]
    assert (clock.reached[0].noted.ahead, clock.reached[0].noted.ahead_by) == (2, 43)


def test_only_accepted_events_count_as_ahead() -> None:
    """Only accepted events are counted as ahead and refused ones raise no more than they."""
    clock = Clock(allowed_lateness=0, clock_skew=10)
    time, published = np.array([150, 150, 105, 160]), np.array([100, 100, 100, 200])
    valid, timed = np.array([True, False, False, True]), np.ones(4, np.bool_)
    late = np.array([True, False, False, False])
    said = clock.advance(positions(*((0, 0, i) for i in range(4))), time, valid, published, late, timed)
    assert said.after.tolist() == [BEFORE_ALL, BEFORE_ALL, 100, 160]
    assert not said.ahead.any()
    assert clock.reached[0].noted == Noted()


def test_without_publish_time_event_time_raises_the_watermark() -> None:
    """Without a publish time every event raises the watermark to its own time."""
    clock = Clock(allowed_lateness=0)
    clock.advance(positions((0, 0, 0)), np.array([2**50]), np.ones(1, np.bool_), np.zeros(1, np.int64))
    assert clock.reached[0].watermark == 2**50


@pytest.mark.parametrize("skew", [0, 2**62])
def test_a_skew_of_any_size_is_a_skew(skew: int) -> None:
    clock = Clock(allowed_lateness=0, clock_skew=skew)
    clock.advance(positions((0, 0, 0)), np.array([101]), np.ones(1, np.bool_), np.array([100]))
    clock.advance(positions((0, 0, 1)), np.array([99]), np.ones(1, np.bool_), np.array([100]))
    assert clock.reached[0].watermark == (100 if skew else 99)


def test_events_that_are_refused_move_no_watermark() -> None:
    clock = Clock(allowed_lateness=0)
    valid = np.array([False, True])
    said = clock.advance(positions((0, 0, 0), (0, 0, 1)), np.array([999, 5]), valid, np.zeros(2, np.int64))
    assert said.late.tolist() == [False, False]
    assert clock.reached[0] == Reached(Offset(0, 1), 5, refused=1, published=0)


def test_an_event_refused_for_a_value_moves_the_watermark() -> None:
    """An event that is refused only for a columns value moves the watermark."""
    clock = Clock(allowed_lateness=0)
    said = clock.advance(
        positions((0, 0, 0), (0, 0, 1)),
        np.array([60, 50]),
        np.array([False, True]),
        np.zeros(2, np.int64),
        timed=np.array([True, True]),
    )
    assert said.late.tolist() == [False, True]
    assert clock.reached[0] == Reached(Offset(0, 1), 60, late=1, refused=1, published=0)


def test_each_partition_has_a_watermark_of_its_own() -> None:
    clock = Clock(allowed_lateness=0, partitions=3)
    said = clock.advance(
        positions((0, 0, 0), (1, 0, 0)), np.array([100, 5]), np.ones(2, np.bool_), np.zeros(2, np.int64)
    )
    assert not said.late.any()
    assert [(p.partition, p.watermark) for p in clock.progress()] == [(0, 100), (1, 5), (2, None)]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 60), st.booleans(), st.integers(0, 40)),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 20),
    st.integers(0, 20),
    st.data(),
)
def test_lateness_does_not_depend_on_batch_cuts(
    events: list[tuple[int, int, bool, int]], lateness: int, skew: int, data: st.DataObject
) -> None:
    """Nor do the watermarks, which are those of the semantics, read one message at a time."""
    partition = np.array([p for p, _, _, _ in events], np.int32)
    places = Positions(partition, np.zeros(len(events), np.int64), np.arange(len(events)))
    time = np.array([t for _, t, _, _ in events], np.int64)
    valid = np.array([v for _, _, v, _ in events])
    whole = Clock(lateness, clock_skew=skew)
    published = np.array([p for _, _, _, p in events], np.int64)
    late = whole.advance(places, time, valid, published).late
    parts = Clock(lateness, clock_skew=skew)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(events) - 1)))))
    pieces = np.split(np.arange(len(events)), cuts)
    again = [
        parts.advance(places.take(rows), time[rows], valid[rows], published[rows]).late
        for rows in pieces
        if len(rows)
    ]
    assert np.concatenate(again).tolist() == late.tolist()
    assert parts.reached == whole.reached
    assert {p: r.noted for p, r in parts.reached.items()} == {p: r.noted for p, r in whole.reached.items()}
    marks: dict[int, int] = {}
    for at, t, fits, sent in events:
        if fits and t >= marks.get(at, t) and (not sent or t <= sent + skew):
            marks[at] = max(marks.get(at, BEFORE_ALL), (min(t, sent) if sent else t) - lateness)
    assert {p: r.watermark for p, r in whole.reached.items() if r.watermark is not None} == marks


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8)), min_size=1, max_size=30),
    st.none() | st.tuples(st.integers(0, 2), st.integers(0, 8)),
)
def test_of_messages_delivered_again_only_the_first_delivery_counts(
    places: list[tuple[int, int]], after: tuple[int, int] | None
) -> None:
    new, last = advancing(positions(*((0, *p) for p in places)), None if after is None else Offset(*after))
    furthest = (-1, -1) if after is None else after
    for place, is_new in zip(places, new.tolist(), strict=True):
        assert is_new is (place > furthest)
        furthest = max(furthest, place)
    assert last == furthest


def test_progress_names_the_last_message_of_partitions() -> None:
    """Progress names the last message of each partition and what was not applied up to it."""
    places = positions((0, 1, 1), (1, 1, 7), (0, 1, 2), (0, 1, 3))
    clock, valid = Clock(allowed_lateness=0), np.array([True, True, True, False])
    clock.start(0, Reached(Offset(1, 0), 5, late=4, refused=2, published=1))
    published = np.array([10, 20, 30, 40])
    said = clock.advance(places, np.array([9, 20, 8, 99]), valid, published)
    found = progress_of(places, said, published, np.arange(3), clock.reached)
    assert found == (Progress(0, 1, 2, 9, 5, 2, 30), Progress(1, 1, 7, 20, 0, 0, 20))
    found = progress_of(places, said, published, np.arange(4), clock.reached)
    assert found[0] == Progress(0, 1, 3, 9, 5, 3, 40)


def test_a_silent_watermark_rises_and_never_goes_back() -> None:
    """A silent partitions watermark rises where it stands and never goes back."""
    clock = Clock(allowed_lateness=0, partitions=2)
    clock.start(0, Reached(Offset(1, 7), 50, late=1, published=3))
    clock.rise(0, 60)
    clock.rise(1, 60)
    clock.rise(0, 55)
    assert clock.progress() == (Progress(0, 1, 7, 60, 1, 0, 3), Progress(1, -1, -1, 60))
    said = clock.advance(
        positions((1, 0, 0), (1, 0, 1)), np.array([59, 60]), np.ones(2, np.bool_), np.zeros(2, np.int64)
    )
    assert said.late.tolist() == [True, False]


def test_the_known_late_are_late_again() -> None:
    """What is known to have been late is late again and moves no watermark."""
    clock = Clock(allowed_lateness=0)
    said = clock.advance(
        positions((0, 0, 0), (0, 0, 1)),
        np.array([70, 60]),
        np.ones(2, np.bool_),
        np.zeros(2, np.int64),
        np.array([True, False]),
    )
    assert said.late.tolist() == [True, False]
    assert clock.reached[0].watermark == 60
