"""Stateless operators as column programs: pure functions of one batch of events.

Every one keeps the order of its events, and gives the same rows for an event whatever other events are in the
batch: delivered again, it does the same again. State, order across batches and repeats are nothing to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from timeline_workers.columns.event_batch import EventBatch
from timeline_workers.columns.operations import take
from timeline_workers.columns.values import Bools, Int64, Scalar
from timeline_workers.language.tree import Expression

from .scalar_kernels import evaluated, satisfied, stable_hash


@dataclass(frozen=True, slots=True)
class StreamBatch:
    """Events of one ``source`` on their way. ``sub``: int64[N], which of the events that were made of one
    message each is: ``(source, position, sub)`` is there once in a stream, in whatever batches it comes."""

    source: str
    events: EventBatch
    sub: Int64

    def __len__(self) -> int:
        return len(self.events)

    @staticmethod
    def of(source: str, events: EventBatch) -> StreamBatch:
        """A batch as it comes from its source."""
        return StreamBatch(source, events, np.zeros(len(events), np.int64))


def kept(batch: StreamBatch, rows: Bools) -> StreamBatch:
    """The events at ``rows``, with those of the keys that they have."""
    if rows.all():
        return batch
    events = batch.events
    codes = events.key[rows]
    used = np.zeros(len(events.keys), np.bool_)
    used[codes] = True
    renumbered = (np.cumsum(used) - 1).astype(np.int32)
    names = events.keys if used.all() else [events.keys[i] for i in np.flatnonzero(used).tolist()]
    taken = EventBatch(
        names,
        renumbered[codes].astype(np.int32),
        events.time[rows],
        events.position.take(rows),
        {name: take(values, rows) for name, values in events.columns.items()},
    )
    return StreamBatch(batch.source, taken, batch.sub[rows])


def where(batch: StreamBatch, condition: Expression) -> StreamBatch:
    """The events that satisfy ``condition``."""
    return kept(batch, satisfied(condition, batch.events))


def derive(batch: StreamBatch, columns: Mapping[str, Expression]) -> StreamBatch:
    """The events with more ``columns``, each of which sees those before it; one of a name that is there takes
    its place."""
    events = batch.events
    for name, expression in columns.items():
        events = replace(events, columns={**events.columns, name: evaluated(expression, events)})
    return replace(batch, events=events)


def sample(batch: StreamBatch, one_in: int, by: Sequence[str] = ()) -> StreamBatch:
    """One of ``one_in`` by the hash of the columns ``by``, a missing one being a value of its own, or of the
    key."""
    if one_in == 1:
        return batch
    events = batch.events
    if not by:
        chosen = np.fromiter((_chosen(one_in, key) for key in events.keys), np.bool_, len(events.keys))
        return kept(batch, chosen[events.key])
    columns = [events.columns.get(name) for name in by]
    rows = (
        _chosen(one_in, *(None if column is None else column.item(row) for column in columns))
        for row in range(len(events))
    )
    return kept(batch, np.fromiter(rows, np.bool_, len(events)))


def _chosen(one_in: int, *values: Scalar | None) -> bool:
    # Not the hash that expressions see: `bucket(key, 10) == 0` would say the same of a key as a sample of it.
    return stable_hash("sample", *values) % one_in == 0


def split(batch: StreamBatch, conditions: Mapping[str, Expression], rest: str) -> dict[str, StreamBatch]:
    """Branches by name: each event in the first whose condition it satisfies, else in ``rest``."""
    left = np.ones(len(batch), np.bool_)
    found: dict[str, StreamBatch] = {}
    for name, condition in conditions.items():
        rows = left & satisfied(condition, batch.events)
        left &= ~rows
        found[name] = kept(batch, rows)
    found[rest] = kept(batch, left)
    return found


def merge(inputs: Sequence[Sequence[StreamBatch]]) -> list[StreamBatch]:
    """All batches of all inputs, one input after the other. An event that comes by several of them is there
    several times, told apart by ``sub``."""
    many = len(inputs)
    return [
        replace(batch, sub=batch.sub * many + number)
        for number, batches in enumerate(inputs)
        for batch in batches
    ]


def rows_of(batch: StreamBatch) -> Iterator[dict[str, object]]:
    """The events one by one, for people: key, time in microseconds, columns."""
    events = batch.events
    for row in range(len(events)):
        columns = {name: values.item(row) for name, values in events.columns.items()}
        yield {**columns, "key": events.keys[events.key[row]], "at": int(events.time[row])}


class Tap:
    """A live sample of a stream for somebody who looks: it holds the last ``bound`` events and drops
    others, so that it never holds anything back. ``seen``, ``dropped``: how many there were."""

    def __init__(self, bound: int) -> None:
        self._held: deque[dict[str, object]] = deque(maxlen=bound)
        self.seen = self.dropped = 0

    def add(self, batch: StreamBatch) -> None:
        """Take what there is room for."""
        self.seen += len(batch)
        bound = self._held.maxlen or 0
        skipped = max(0, len(batch) - bound)
        last = kept(batch, np.arange(len(batch)) >= skipped)
        self.dropped += skipped + max(0, len(self._held) + len(last) - bound)
        self._held.extend(rows_of(last))

    def take(self) -> list[dict[str, object]]:
        """What it holds, which it holds no longer."""
        taken = list(self._held)
        self._held.clear()
        return taken


class Discard:
    """An end of a stream that counts: ``events``."""

    def __init__(self) -> None:
        self.events = 0

    def add(self, batch: StreamBatch) -> None:
        """Count and forget."""
        self.events += len(batch)
