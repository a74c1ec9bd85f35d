"""The stored messages of a topic, read back by a Reader: the truth that everything else is judged by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise

import pulsar

from tests.chaos.judging import Message, Place
from timeline_workers.servers.pulsar.pulsar_client import connect

# The embedded broker delivers again, and stops short, when a reader's queue runs full; a small one makes that
# rare, and reading again makes up for it.
QUEUE = 1_000
READINGS = 8
QUIET_MS = 3_000


class Incomplete(RuntimeError):
    """The broker does not give back all that it should hold."""


def read_topic(
    url: str, topic: str, complete: Callable[[dict[Place, pulsar.Message]], str | None]
) -> dict[Place, pulsar.Message]:
    """Everything in ``topic`` by place. ``complete`` says what is missing yet, None when nothing is.

    Raises Incomplete when several readings in a row leave something out.
    """
    found: dict[Place, pulsar.Message] = {}
    missing: str | None = None
    for _ in range(READINGS):
        client = connect(url)
        try:
            reader = client.create_reader(topic, pulsar.MessageId.earliest, receiver_queue_size=QUEUE)
            while True:
                try:
                    message = reader.read_next(timeout_millis=QUIET_MS)
                except pulsar.Timeout:
                    break
                found[place_of(message)] = message
        finally:
            client.close()
        missing = complete(found)
        if missing is None:
            return found
    raise Incomplete(f"{topic}: {missing}; {len(found):,} messages were read in {READINGS} readings")


def place_of(message: pulsar.Message) -> Place:
    """Where the message stands in its own topic."""
    at = message.message_id()
    return Place(max(at.partition(), 0), (at.ledger_id(), at.entry_id(), max(at.batch_index(), 0)))


def as_message(place: Place, message: pulsar.Message) -> Message:
    """The message as plain data."""
    return Message(place, message.partition_key(), message.data(), message.publish_timestamp() * 1000)


def hole(places: Iterable[Place]) -> str | None:
    """The first place at which messages must be missing, in words; None when there is none.

    Within a batch indices follow one another, within a ledger entries do. Where a ledger ends is not known.
    """
    by_partition: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for place in places:
        by_partition[place.partition].append(place.at)
    for partition, found in sorted(by_partition.items()):
        found.sort()
        for (ledger, entry, index), (ledger2, entry2, index2) in pairwise(found):
            same = (ledger2, entry2) == (ledger, entry)
            following = index2 == index + 1 if same else index2 == 0 and _next(ledger, entry, ledger2, entry2)
            if not following:
                return (
                    f"partition {partition} has a hole between {ledger}:{entry}:{index} and "
                    f"{ledger2}:{entry2}:{index2}"
                )
        if found[0][2] != 0:
            return f"partition {partition} begins inside a batch, at {found[0]}"
    return None


def _next(ledger: int, entry: int, ledger2: int, entry2: int) -> bool:
    return entry2 == entry + 1 if ledger2 == ledger else entry2 == 0
