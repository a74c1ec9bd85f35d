"""Batches of messages, with their texts, that the worker of a rule hands to the sink of a target.

A batch is sent by the signal ``TAKE``, as ``pack_sink_batch`` has it, to the workflow ``sink_id(target,
partition)``. It is sent at least once and in order, so a sink keeps, for each origin, the number of the last
message that it has: ``SinkBatch.after`` leaves out what it took before, however batches are cut when they are
sent again. ``TAKEN`` asks a sink for that number.

Numbers of an origin grow by one from message to message. They begin at the microsecond at which the worker
began, so that those of a rule that was deleted and applied again are greater than all before. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from timeline_workers.errors import StateError

from .episodes import Message

TAKE: Final = "take"
"""The signal of a sink that takes a batch."""
TAKEN: Final = "taken"
"""The query of a sink, with an origin: the number of its last message, 0 where there is none."""
BATCH_BYTES: Final = 256 * 1024


class SinkMessage(msgspec.Struct, frozen=True):
    """A message, and what the templates of its rule make of it."""

    message: Message
    title: str
    text: str


class SinkBatch(msgspec.Struct, frozen=True):
    """``messages`` of the worker ``origin``, in order; ``sequence``: the number of the first of them."""

    origin: str
    sequence: int
    messages: tuple[SinkMessage, ...]

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self.sequence + len(self.messages) - 1

    def after(self, taken: int) -> tuple[SinkMessage, ...]:
        """The messages with greater numbers than ``taken``."""
        return self.messages[max(0, taken + 1 - self.sequence) :]


def sink_id(target: str, partition: str) -> str:
    """The workflow id of the sink that tells ``target`` of what is in ``partition``."""
    return f"sink-{target}.{partition}"


def pack_sink_batch(batch: SinkBatch) -> dict[str, Any]:
    """``batch`` as a JSON object."""
    packed: dict[str, Any] = msgspec.to_builtins(batch)
    return packed


def unpack_sink_batch(packed: object) -> SinkBatch:
    """Reverse ``pack_sink_batch``. Raises StateError for anything else."""
    try:
        return msgspec.convert(packed, SinkBatch)
    except msgspec.ValidationError as error:
        raise StateError(f"it is no batch of alerts' messages: {error}") from error


def sink_batches(
    origin: str, first: int, messages: Iterable[SinkMessage], most_bytes: int = BATCH_BYTES
) -> Iterator[SinkBatch]:
    """``messages``, the first of which has the number ``first``, in batches of hardly more than
    ``most_bytes``."""
    some: list[SinkMessage] = []
    size = 0
    for one in messages:
        length = len(msgspec.json.encode(one))
        if some and size + length > most_bytes:
            yield SinkBatch(origin, first, tuple(some))
            first += len(some)
            some, size = [], 0
        some.append(one)
        size += length
    if some:
        yield SinkBatch(origin, first, tuple(some))
