"""Messages as the client library has them, as columns, and as dead letters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.events.batch import Positions

from .deadletter import DeadLetter
from .past import Stored
from .progress import ENTRY_STEP, Offset
from .route import Messages


def read(batch: Sequence[Stored]) -> Messages:
    """Take payloads, positions and publish times out of the client library's messages."""
    count = len(batch)
    partition = np.fromiter((p for p, _, _ in batch), np.int32, count)
    major = np.fromiter((place.major for _, place, _ in batch), np.int64, count)
    minor = np.fromiter((place.minor for _, place, _ in batch), np.int64, count)
    published = np.fromiter((m.publish_timestamp() for _, _, m in batch), np.int64, count)
    return Messages([m.data() for _, _, m in batch], Positions(partition, major, minor), published * 1000)


def offset_of(position: Positions, row: int) -> Offset:
    """The place of one message within its partition."""
    return Offset(int(position.major[row]), int(position.minor[row]))


def shown(offset: Offset) -> str:
    """A place as people read it: ``ledger:entry:index``."""
    entry, index = divmod(offset.minor, ENTRY_STEP)
    return f"{offset.major}:{entry}:{index}"


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


def last_places(position: Positions) -> dict[int, Offset]:
    """The furthest place of each partition."""
    places: dict[int, Offset] = {}
    for partition in partitions_of(position):
        rows = np.flatnonzero(position.partition == partition)
        top = rows[np.lexsort((position.minor[rows], position.major[rows]))[-1]]
        places[partition] = offset_of(position, int(top))
    return places
