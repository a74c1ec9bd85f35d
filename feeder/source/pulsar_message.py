"""Messages as Pulsar's client library has them, and their places.

A message that was sent in chunks takes an entry for each, and comes whole with the last of them. Its place is
there; where it begins is told by the client library in the serialized form of the message's id only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pulsar

from feeder.positions import ENTRY_STEP, WHOLE_ENTRY, Offset, minor_of
from timeline_workers.events.incarnation import LEDGER_BITS, incarnation_of, major_of

from .partitioned_source import NotDeliveredError, SourceError

# In the protocol buffers of Pulsar's MessageIdData.
_LEDGER, _ENTRY, _BATCH_SIZE, _FIRST_CHUNK = 1, 2, 6, 7
_FIRST_CHUNK_TAG = _FIRST_CHUNK << 3 | 2


def place_of(at: pulsar.MessageId, incarnation: int = 0) -> Offset:
    """The place of a message within its partition, of a topic in this incarnation."""
    index = at.batch_index()
    if index < 0:
        index = 0 if _first_chunk(at) is None else WHOLE_ENTRY
    # What ``Offset(major_of(…), …)`` is, for every message: without two calls that take longer than the rest.
    place = (incarnation << LEDGER_BITS | at.ledger_id(), at.entry_id() * ENTRY_STEP + index)
    return tuple.__new__(Offset, place)


class PulsarMessage:
    """A message of a partition (see ``SourceMessage``). What few are asked for is not looked up before."""

    __slots__ = ("message", "partition", "payload", "place", "published")

    def __init__(self, partition: int, place: Offset, message: pulsar.Message) -> None:
        self.partition, self.place, self.message = partition, place, message
        self.payload: bytes = message.data()
        self.published: int = message.publish_timestamp() * 1000

    @property
    def begin(self) -> Offset:
        """Where its first chunk is, if it was sent in chunks, else its place."""
        place = self.place
        if place.minor % ENTRY_STEP != WHOLE_ENTRY:
            return place
        first = _first_chunk(self.message.message_id())
        return (
            place
            if first is None
            else Offset(major_of(incarnation_of(place.major), first.major), first.minor)
        )

    @property
    def ends_entry(self) -> bool:
        """Whether it is the last of its entry, as far as the client library tells."""
        return ends_entry(self.message.message_id())

    @property
    def key(self) -> str:
        """Its partition key."""
        key: str = self.message.partition_key()
        return key

    @property
    def properties(self) -> Mapping[str, str]:
        """Its properties."""
        properties: Mapping[str, str] = self.message.properties()
        return properties


@contextmanager
def translated() -> Iterator[None]:
    """Turn the client library's errors inside the block into those of a source."""
    try:
        yield
    except pulsar.Timeout as error:
        raise NotDeliveredError(str(error)) from error
    except pulsar.PulsarException as error:
        raise SourceError(str(error)) from error


def ends_entry(at: pulsar.MessageId) -> bool:
    """Whether a message is the last of its entry, as far as the client library tells."""
    index: int = at.batch_index()
    return index < 0 or _fields(at.serialize()).get(_BATCH_SIZE) == index + 1


def _first_chunk(at: pulsar.MessageId) -> Offset | None:
    data = at.serialize()
    if _FIRST_CHUNK_TAG not in data:
        return None
    chunk = _fields(data).get(_FIRST_CHUNK)
    if not isinstance(chunk, bytes):
        return None
    fields = _fields(chunk)
    ledger, entry = fields.get(_LEDGER), fields.get(_ENTRY)
    return Offset(ledger, minor_of(entry, 0)) if isinstance(ledger, int) and isinstance(entry, int) else None


def _fields(data: bytes) -> dict[int, int | bytes]:
    """The varints and byte strings of a protocol buffer, by number, up to anything else in it."""
    found: dict[int, int | bytes] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            found[number] = varint()
        elif kind == 2:
            size = varint()
            found[number] = data[at : at + size]
            at += size
        else:
            break
    return found
