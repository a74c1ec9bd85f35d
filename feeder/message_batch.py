"""A batch of messages as columns, and one of them as a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter

import numpy as np

from feeder.routing.router import Messages
from feeder.source.partitioned_source import DeadLetter, SourceMessage
from timeline_workers.columns.event_batch import Positions
from timeline_workers.events.incarnation import shown_place

from .positions import ENTRY_STEP, WHOLE_ENTRY, Offset

_PARTITION, _PLACE, _PUBLISHED = map(attrgetter, ("partition", "place", "published"))


def read(batch: Sequence[SourceMessage]) -> Messages:
    """The payloads, positions and publish times of messages, at least one."""
    count = len(batch)
    partition = np.fromiter(map(_PARTITION, batch), np.int32, count)
    places = chain.from_iterable(map(_PLACE, batch))
    major, minor = np.fromiter(places, np.int64, 2 * count).reshape(count, 2).T.copy()
    published = np.fromiter(map(_PUBLISHED, batch), np.int64, count)
    position, begin = Positions(partition, major, minor), None
    whole = np.flatnonzero(minor % ENTRY_STEP == WHOLE_ENTRY).tolist()
    if whole:
        begin = Positions(partition, major.copy(), minor.copy())
        for row in whole:
            begin.major[row], begin.minor[row] = batch[row].begin
    return Messages([message.payload for message in batch], position, published, begin)


def offset_of(position: Positions, row: int) -> Offset:
    """The place of one message within its partition."""
    return Offset(int(position.major[row]), int(position.minor[row]))


def shown(offset: Offset) -> str:
    """A place as people read it (see ``shown_place``)."""
    return shown_place(*offset)


def letter(message: SourceMessage, reason: str, text: str, metrics: Sequence[str]) -> DeadLetter:
    """The dead letter of a message that is not applied to ``metrics``."""
    return DeadLetter(
        message.payload,
        message.key,
        reason,
        text,
        message.partition,
        shown(message.place),
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
