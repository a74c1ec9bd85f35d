"""What a leaf is sent of a batch of events: its columns only and, for existence leaves, the matching events
only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ExpressionError
from ..events.batch import EventBatch, Positions
from ..language.tree import (
    EventCount,
    EventCountWithin,
    Expression,
    HasExisted,
    HasExistedWithin,
    LatestEventToState,
)
from . import columns
from .predicates import matches
from .timelines import Key
from .values import UNKNOWN, Bools, Int64, Tagged


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to this position of a source partition has been sent.

    ``watermark``: microseconds, after it. ``late``, ``refused``: how many events up to there came too late,
    and how many were refused for another reason. ``published``: when the last message was published,
    microseconds; None: not known.
    """

    partition: int
    major: int
    minor: int
    watermark: int | None
    late: int = 0
    refused: int = 0
    published: int | None = None


@dataclass(frozen=True, slots=True)
class LeafBatch:
    """One batch for one leaf.

    ``keys``: all keys of the batch, also those without rows here; ``origins``: int64, the earliest event
    time of each in this batch; ``key``, ``time``, ``position``, ``values``: the leaf's rows, ``key``
    indexing ``keys``, values None for existence leaves; ``progress``: how far the source has been sent with
    this batch.
    """

    keys: list[Key]
    origins: Int64
    key: Int64
    time: Int64
    position: Positions
    values: Tagged | None
    progress: tuple[Progress, ...] = ()

    def without(self, dropped: Bools, origins: Int64 | None = None) -> LeafBatch:
        """The batch without the rows where ``dropped``. It still names all keys, with these ``origins``."""
        rows = np.flatnonzero(~dropped)
        return replace(
            self,
            origins=self.origins if origins is None else origins,
            key=self.key[rows],
            time=self.time[rows],
            position=self.position.take(rows),
            values=None if self.values is None else columns.take(self.values, rows),
        )


def key_origins(batch: EventBatch) -> Int64:
    """The earliest event time in the batch of each of its keys."""
    origins = np.full(len(batch.keys), 2**63 - 1, np.int64)
    np.minimum.at(origins, batch.key, batch.time)
    return origins


@dataclass(frozen=True, slots=True)
class LeafRouter:
    """Picks the events of one leaf expression (an event operator) out of batches."""

    leaf: Expression

    def project(self, batch: EventBatch) -> tuple[Int64, Tagged | None]:
        """Return the rows of ``batch`` that the leaf needs, ascending, and its value at each (None:
        existence)."""
        if isinstance(self.leaf, LatestEventToState):
            column = batch.columns.get(self.leaf.column)
            if column is None:
                return np.zeros(0, np.int64), columns.unknown_tagged(0)
            rows = np.flatnonzero(column.tags != UNKNOWN)
            if len(rows) == len(batch):
                return rows, column
            return rows, columns.take(column, rows)
        if isinstance(self.leaf, (HasExisted, HasExistedWithin, EventCount, EventCountWithin)):
            return np.flatnonzero(matches(self.leaf.of, batch)), None
        raise ExpressionError(f"{self.leaf.op} is not a leaf: it takes no events", span=self.leaf.span)

    def batch(
        self, events: EventBatch, progress: tuple[Progress, ...] = (), origins: Int64 | None = None
    ) -> LeafBatch:
        """Return the leaf's batch of all events of ``events``; ``origins``: ``key_origins`` of them, if
        known."""
        rows, values = self.project(events)
        return LeafBatch(
            events.keys,
            key_origins(events) if origins is None else origins,
            events.key[rows].astype(np.int64),
            events.time[rows],
            events.position.take(rows),
            values,
            progress,
        )
