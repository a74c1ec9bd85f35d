"""Batches of an alert's messages: what the targets are told at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from timeline_workers.alerts.episodes import Message
from timeline_workers.errors import StateError

from .batches import Batch

_MESSAGE = msgspec.msgpack.Decoder(Message)


def message_batches(first: int, messages: Iterable[Message], most_bytes: int) -> Iterator[Batch]:
    """``messages``, the first of which has the number ``first``, in batches of hardly more than
    ``most_bytes``."""
    some: list[bytes] = []
    size = 0
    for packed in map(msgspec.msgpack.encode, messages):
        if some and size + len(packed) > most_bytes:
            yield Batch(first, len(some), some)
            first += len(some)
            some, size = [], 0
        some.append(packed)
        size += len(packed)
    if some:
        yield Batch(first, len(some), some)


def messages_of(batch: Batch) -> list[Message]:
    """The messages of a batch. Raises StateError for a batch of anything else."""
    try:
        return [_MESSAGE.decode(packed) for packed in batch.news]
    except msgspec.MsgspecError as error:
        raise StateError(f"it is no batch of alerts' messages: {error}") from error
