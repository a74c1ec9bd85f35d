"""Messages that are missing in what the broker delivers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pulsar
import pytest
from hypothesis import given, strategies as st

from feeder.positions import Offset, advancing, gap, minor_of
from feeder.recovery.gaps import TRIES, GapError, Gaps, Order
from feeder.routing.router import Messages
from feeder.source.pulsar_message import ends_entry
from timeline_workers.columns.event_batch import Positions


def at(ledger: int, entry: int, index: int = 0) -> Offset:
    return Offset(ledger, minor_of(entry, index))


@pytest.mark.parametrize("after", [None, at(7, 3)])
def test_the_unreadable_is_retried_then_passed(
    after: Offset | None,
) -> None:
    """What cannot be read is tried again and gone beyond only when it stays so."""
    gaps = Gaps()
    for _ in range(TRIES):
        with pytest.raises(GapError, match="partition 2: nothing was delivered between"):
            gaps.unreadable(2, after, at(7, 5), TimeoutError("slow"))
    words = gaps.unreadable(2, after, at(7, 5), TimeoutError("slow"))
    assert words.startswith("partition 2: between ")
    assert ("(1 of the broker's entries)" in words) is (after is not None)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=12),
    st.none() | st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 2)),
)
def test_a_gap_lies_between_unconnected_neighbours(
    places: list[tuple[int, int, int]], after: tuple[int, int, int] | None
) -> None:
    """A gap in a batch is found where two new neighbours do not follow each other."""
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


@pytest.mark.parametrize(
    ("seen", "whole", "first", "fresh"),
    [
        (at(7, 3, 1), False, at(7, 3, 2), False),
        (at(7, 3, 1), True, at(7, 4), False),
        # Another feeder may have fed the rest of the entry, or of the ledger.
        (at(7, 3, 1), False, at(7, 4), True),
        (at(7, 3, 1), True, at(8, 0), True),
        (at(7, 3, 1), True, at(7, 5), True),
        # What was received before comes again.
        (at(7, 3, 1), False, at(7, 2), False),
    ],
)
def test_a_partition_goes_on_only_without_others_feeding(
    seen: Offset, whole: bool, first: Offset, fresh: bool
) -> None:
    """A partition goes on only where nobody can have fed anything in between."""
    order = Order()

    def take(place: Offset) -> tuple[dict[int, Offset], set[int]]:
        position = Positions(np.zeros(1, np.int32), np.array([place.major]), np.array([place.minor]))
        return order.take(Messages([b""], position, np.zeros(1, np.int64)), lambda row: whole)

    assert take(seen) == ({0: seen}, {0})
    assert take(first) == ({0: first}, {0} if fresh else set())


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (b"\x08\x03\x10\x3a\x18\x00", True),
        (b"\x08\x03\x10\x3a\x18\x00\x20\x02\x30\x05", False),
        (b"\x08\x03\x10\x3a\x18\x00\x20\x04\x30\x05", True),
        # Nothing is said of the batch's size.
        (b"\x08\x03\x10\x3a\x18\x00\x20\x04", False),
    ],
)
def test_the_last_of_an_entry_follows_its_batch_size(data: bytes, ends: bool) -> None:
    """The last message of an entry is known by the size of its batch."""
    assert ends_entry(pulsar.MessageId.deserialize(data)) is ends


def test_the_first_message_received_is_remembered() -> None:
    """The first that was received of a partition is remembered."""
    order = Order()
    for places in ([at(7, 3), at(7, 4)], [at(7, 1), at(7, 2)]):
        position = Positions(
            np.full(2, 5, np.int32), np.array([o.major for o in places]), np.array([o.minor for o in places])
        )
        order.take(Messages([b""] * 2, position, np.zeros(2, np.int64)), lambda row: True)
    assert dict(order.heads) == {5: at(7, 3)}
