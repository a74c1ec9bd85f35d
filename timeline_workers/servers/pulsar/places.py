"""Messages around given places of a topic's partitions, read by Readers (``incarnation`` judges them).
Everything blocks, and raises pulsar.PulsarException; pulsar.Timeout when a broker does not deliver what
it has.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import closing
from time import monotonic, time

import pulsar

from timeline_workers.events.incarnation import ENTRY_STEP, WHOLE_ENTRY, Mark, Message, Place, Shown

# The embedded broker does not say where a topic ends; it delivers what there is well within this.
QUIET_MS = 700
_PATIENCE_MS = 200
_TRIES = 25
_QUEUE = 100
# A message in chunks is delivered only to who reads its first; so many chunks back it is looked for.
_CHUNKS = 16
# So many messages of a whole topic are looked through for the first of each partition.
_FIRST_MESSAGES = 2_000


def shown_at(
    client: pulsar.Client, name: str, partition: int, mark: Mark, *, tells_end: bool = True
) -> Shown:
    """What the topic or partition ``name`` shows around ``mark``. ``tells_end``: the broker knows where it
    ends, as a real one does.
    """
    at, witness = None, mark.witness
    start = start_around(partition, mark, any_ledger=tells_end)
    with closing(client.create_reader(name, start, receiver_queue_size=_QUEUE)) as reader:
        while (message := _next(reader, tells_end)) is not None:
            if message.place >= witness.place:
                at = message
                break
    if at is not None and at.place == witness.place and witness.published in (None, at.published):
        return Shown(None, at)  # nothing else is of interest
    with closing(client.create_reader(name, pulsar.MessageId.earliest, receiver_queue_size=1)) as reader:
        return Shown(_next(reader, tells_end), at)


def start_around(partition: int, mark: Mark, *, any_ledger: bool) -> pulsar.MessageId:
    """From where a Reader delivers the witness of ``mark``, and few messages before it."""
    before = mark.witness.place.minor // ENTRY_STEP - (_CHUNKS if mark.whole else 1)
    return _after_entry(partition, mark.place.ledger, before, any_ledger)


def start_after(partition: int, place: Place, *, any_ledger: bool) -> pulsar.MessageId:
    """From where a Reader delivers what comes after ``place``, and no more than the rest of its entry."""
    entry, index = divmod(place.minor, ENTRY_STEP)
    return _after_entry(partition, place.ledger, entry if index == WHOLE_ENTRY else entry - 1, any_ledger)


def _after_entry(partition: int, ledger: int, entry: int, any_ledger: bool) -> pulsar.MessageId:
    """``any_ledger``: the broker can begin at the first entry of any ledger, as the embedded one cannot."""
    if ledger < 0 or (entry < 0 and not any_ledger):
        return pulsar.MessageId.earliest
    return pulsar.MessageId(partition, ledger, max(entry, -1), -1)


def first_messages(client: pulsar.Client, topic: str, partitions: Collection[int]) -> dict[int, Message]:
    """The first message of each partition of ``topic`` on the embedded broker, of which a Reader reads all
    partitions together; those that are not among the first messages of the topic are left out.
    """
    found: dict[int, Message] = {}
    with closing(
        client.create_reader(topic, pulsar.MessageId.earliest, receiver_queue_size=_QUEUE)
    ) as reader:
        for _ in range(_FIRST_MESSAGES):
            try:
                message = reader.read_next(QUIET_MS)
            except pulsar.Timeout:
                break
            found.setdefault(max(message.message_id().partition(), 0), described(message))
            if found.keys() >= set(partitions):
                break
    return found


def shown_in_whole(client: pulsar.Client, topic: str, marks: Mapping[int, Mark]) -> dict[int, Shown]:
    """The same as ``shown_at`` for several partitions of a topic on the embedded broker, all of which is
    read for it.
    """
    first: dict[int, Message] = {}
    at: dict[int, Message] = {}
    with closing(stored(client, topic, pulsar.MessageId.earliest)) as messages:
        for partition, found in messages:
            first.setdefault(partition, found)
            if partition in marks and found.place >= marks[partition].witness.place:
                at.setdefault(partition, found)
                if at.keys() == marks.keys():
                    break
    return {p: Shown(first.get(p), at.get(p)) for p in marks}


def stored(
    client: pulsar.Client, topic: str, start: pulsar.MessageId
) -> Generator[tuple[int, Message], None, None]:
    """What ``topic``, of several partitions on the embedded broker, holds from ``start`` on, with the
    partition of each; not what is published meanwhile, which may have no end.
    """
    until: float | None = None
    opened_ms = time() * 1000
    with closing(client.create_reader(topic, start, receiver_queue_size=1_000)) as reader:
        while until is None or monotonic() < until:
            try:
                message = reader.read_next(QUIET_MS)
            except pulsar.Timeout:
                return
            if until is None and message.publish_timestamp() > opened_ms:
                until = monotonic() + QUIET_MS / 1000  # partitions come beside each other
            yield max(message.message_id().partition(), 0), described(message)


def _next(reader: pulsar.Reader, tells_end: bool) -> Message | None:
    """The next message, None at the end."""
    if not tells_end:
        try:
            return described(reader.read_next(QUIET_MS))
        except pulsar.Timeout:
            return None
    for _ in range(_TRIES):
        if not reader.has_message_available():
            return None
        try:
            return described(reader.read_next(_PATIENCE_MS))
        except pulsar.Timeout:
            continue
    raise pulsar.Timeout("the broker does not deliver what it holds")


def described(message: pulsar.Message) -> Message:
    """A message's place and publish time; of one in chunks, that of the last, with the index 0."""
    at = message.message_id()
    index = max(at.batch_index(), 0)
    place = Place(at.ledger_id(), at.entry_id() * ENTRY_STEP + index)
    return Message(place, int(message.publish_timestamp()) * 1000)
