"""Messages that were sent in chunks take several entries of the broker's, and are no gap."""

from __future__ import annotations

import numpy as np
import pulsar
import pytest

from feeder.message_batch import shown
from feeder.positions import WHOLE_ENTRY, Offset, gap, minor_of
from feeder.recovery.gaps import Order
from feeder.routing.router import Messages
from feeder.source.pulsar_message import place_of
from timeline_workers.columns.event_batch import Positions


def positions(*offsets: Offset) -> Positions:
    return Positions(
        np.zeros(len(offsets), np.int32),
        np.array([o.major for o in offsets]),
        np.array([o.minor for o in offsets]),
    )


def at(entry: int, index: int = 0, ledger: int = 3) -> Offset:
    return Offset(ledger, minor_of(entry, index))


def chunked(entry: int) -> Offset:
    return at(entry, WHOLE_ENTRY)


def received(places: list[Offset], begins: list[Offset]) -> Messages:
    count = len(places)
    return Messages([b""] * count, positions(*places), np.zeros(count, np.int64), positions(*begins))


@pytest.mark.parametrize(
    ("data", "place"),
    [
        # ledger 3, entry 58 (which is the tag of the first chunk's place, too), partition 0
        (b"\x08\x03\x10\x3a\x18\x00", at(58)),
        # the same in a batch, at index 2 of 5
        (b"\x08\x03\x10\x3a\x18\x00\x20\x02\x30\x05", at(58, 2)),
        # the same as the last chunk of a message, of which the first is entry 56
        (b"\x08\x03\x10\x3a\x18\x00\x3a\x06\x08\x03\x10\x38\x18\x00", chunked(58)),
    ],
)
def test_a_chunked_message_is_at_its_last_entry(data: bytes, place: Offset) -> None:
    """A chunked message is at its last entry and leaves nothing in it."""
    assert place_of(pulsar.MessageId.deserialize(data)) == place


def test_people_read_the_place_that_the_producer_was_told() -> None:
    assert shown(chunked(58)) == shown(at(58)) == "3:58:0"


@pytest.mark.parametrize(
    ("places", "begins", "found"),
    [
        ([at(4), chunked(7), at(8)], [at(4), at(5), at(8)], None),
        ([at(4), chunked(7), at(8)], [at(4), at(6), at(8)], (at(4), at(6))),
        ([at(4, 9), chunked(7)], [at(4, 9), at(5)], None),
        ([chunked(7), chunked(9)], [at(6), at(8)], None),
        ([chunked(7), at(9)], [at(6), at(9)], (chunked(7), at(9))),
        # Chunks of two messages that come alternately.
        ([chunked(7), chunked(8)], [at(5), at(6)], None),
        # The first chunk in the last entry of one ledger, the other in the next ledger.
        ([at(4), at(0, WHOLE_ENTRY, ledger=4)], [at(4), at(5)], None),
        # Where a ledger ends is not known.
        ([at(4), at(1, WHOLE_ENTRY, ledger=4)], [at(4), at(0, ledger=4)], (at(4), at(0, ledger=4))),
        ([at(4), at(2, WHOLE_ENTRY, ledger=4)], [at(4), at(1, ledger=4)], (at(4), at(1, ledger=4))),
    ],
)
def test_a_gap_lies_before_the_first_chunk_or_nowhere(
    places: list[Offset], begins: list[Offset], found: tuple[Offset, Offset] | None
) -> None:
    messages = received(places, begins)
    assert messages.begin is not None
    told = gap(messages.position, np.ones(len(places), np.bool_), messages.begin)
    assert (told is None) == (found is None)
    assert Order().before_gap(messages) == (
        len(places) if found is None else next(i for i, b in enumerate(begins) if b == found[1])
    )


def test_a_chunked_message_follows_its_first_chunks_neighbour() -> None:
    """A chunked message goes on from the entry before its first chunk."""
    order = Order()

    def take(place: Offset, begin: Offset) -> tuple[dict[int, Offset], set[int]]:
        return order.take(received([place], [begin]), lambda row: True)

    take(at(4), at(4))
    assert take(chunked(7), at(5)) == ({0: at(5)}, set())
    assert take(at(8), at(8)) == ({0: at(8)}, set())
    assert take(chunked(12), at(10)) == ({0: at(10)}, {0})
