"""Messages as the client library has them: their places, as columns, and as dead letters.

A message that was sent in chunks takes an entry for each, and comes whole with the last of them. Its place is
there; where it begins is told by the client library in the serialized form of the message's id only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pulsar

from feeder.routing.router import Messages
from feeder.source.dead_letter_topic import DeadLetter
from timeline_workers.columns.event_batch import Positions
from timeline_workers.events.incarnation import incarnation_of, major_of, shown_place

from .positions import ENTRY_STEP, WHOLE_ENTRY, Offset, minor_of

Stored = tuple[int, Offset, pulsar.Message]
"""A message with its partition and place."""

# In the protocol buffers of Pulsar's MessageIdData.
_LEDGER, _ENTRY, _BATCH_SIZE, _FIRST_CHUNK = 1, 2, 6, 7
_FIRST_CHUNK_TAG = _FIRST_CHUNK << 3 | 2


def place_of(at: pulsar.MessageId, incarnation: int = 0) -> Offset:
    """The place of a message within its partition, of a topic in this incarnation."""
    index = at.batch_index()
    if index < 0:
        index = 0 if _first_chunk(at) is None else WHOLE_ENTRY
    return Offset(major_of(incarnation, at.ledger_id()), at.entry_id() * ENTRY_STEP + index)


def begin_of(stored: Stored) -> Offset:
    """Where a message begins: where its first chunk is, if it was sent in chunks, else at its place."""
    _, place, message = stored
    if place.minor % ENTRY_STEP != WHOLE_ENTRY:
        return place
    first = _first_chunk(message.message_id())
    return place if first is None else Offset(major_of(incarnation_of(place.major), first.major), first.minor)


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


def read(batch: Sequence[Stored]) -> Messages:
    """Take payloads, positions and publish times out of the client library's messages, at least one."""
    count = len(batch)
    partitions, places, messages = zip(*batch, strict=True)
    partition = np.fromiter(partitions, np.int32, count)
    major, minor = np.fromiter(chain.from_iterable(places), np.int64, 2 * count).reshape(count, 2).T.copy()
    published = np.fromiter(map(pulsar.Message.publish_timestamp, messages), np.int64, count)
    position, begin = Positions(partition, major, minor), None
    chunked = np.flatnonzero(minor % ENTRY_STEP == WHOLE_ENTRY).tolist()
    if chunked:
        begin = Positions(partition, major.copy(), minor.copy())
        for row in chunked:
            begin.major[row], begin.minor[row] = begin_of(batch[row])
    return Messages([message.data() for message in messages], position, published * 1000, begin)


def offset_of(position: Positions, row: int) -> Offset:
    """The place of one message within its partition."""
    return Offset(int(position.major[row]), int(position.minor[row]))


def shown(offset: Offset) -> str:
    """A place as people read it (see ``shown_place``)."""
    return shown_place(*offset)


def letter(stored: Stored, reason: str, text: str, metrics: Sequence[str]) -> DeadLetter:
    """The dead letter of a message that is not applied to ``metrics``."""
    partition, place, message = stored
    return DeadLetter(
        message.data(),
        message.partition_key(),
        reason,
        text,
        partition,
        shown(place),
        ", ".join(sorted(set(metrics))),
    )


def partitions_of(position: Positions) -> list[int]:
    """The partitions that messages are of, ascending."""
    found: list[int] = np.unique(position.partition).tolist()
    return found


def last_rows(position: Positions) -> dict[int, int]:
    """The row of the furthest place of each partition."""
    found: dict[int, int] = {}
    for partition in partitions_of(position):
        rows = np.flatnonzero(position.partition == partition)
        found[partition] = int(rows[np.lexsort((position.minor[rows], position.major[rows]))[-1]])
    return found
