"""The state of one node and how it takes in what is new.

A node holds what it was told (a leaf its events, a derived node its children's timelines) and its own
timeline, for all its keys. What is new touches some keys from some instant on; the node computes those
suffixes again from its inputs and its own output just before, compares them with what it had, and reports
where they really changed. In-order input touches only the ends, late input exactly what it changes, and
everything at once is the same path from the origins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..language.tree import Expression
from . import columns, pieces
from .leaves import LeafBatch
from .log import EventLog, LogStore, sorted_log
from .operators import Window, event_operator, inputs_of, timeline_operator
from .rows import FOREVER
from .timelines import KeyTable, Timeline
from .timelinestore import TimelineStore
from .values import Bools, Int64, StringTable, Tagged, Values


@dataclass(frozen=True, slots=True)
class Revision:
    """``keys[i]``, from ``froms[i]`` on, is ``suffix``'s key ``i``. ``keys``: ascending numbers in a
    KeyTable; ``froms``: microseconds.
    """

    keys: Int64
    froms: Int64
    suffix: Timeline

    def __len__(self) -> int:
        return len(self.keys)


class KeySet:
    """Keys with the earliest instant from which each needs attention."""

    def __init__(self) -> None:
        self._froms = np.zeros(0, np.int64)

    def add(self, keys: Int64, froms: Int64) -> None:
        """Mark ``keys`` (distinct) from ``froms`` on."""
        if not len(keys):
            return
        top = int(keys.max()) + 1
        if top > len(self._froms):
            grown = np.full(max(top, 2 * len(self._froms)), FOREVER, np.int64)
            grown[: len(self._froms)] = self._froms
            self._froms = grown
        self._froms[keys] = np.minimum(self._froms[keys], froms)

    def marked(self) -> Int64:
        """The marked keys, ascending."""
        return np.flatnonzero(self._froms != FOREVER)

    def take(self, keys: Int64) -> Int64:
        """Return the instants of ``keys`` and unmark them."""
        froms = self._froms[keys]
        self._froms[keys] = FOREVER
        return froms

    def peek(self, keys: Int64) -> Int64:
        """Return the instants of ``keys``."""
        return self._froms[keys]


class _Node:
    def __init__(self, expression: Expression, keys: KeyTable | None, blank: Values) -> None:
        self.expression = expression
        self.keys = KeyTable() if keys is None else keys
        self.output = TimelineStore(blank)

    def revision(self, keys: Int64, froms: Int64) -> Revision:
        """The node's own timeline of ``keys`` (ascending, in their domain) from ``froms`` on."""
        return Revision(keys, froms, self.output.cut(keys, froms))

    def _window(self, keys: Int64, froms: Int64, fresh: Bools) -> Window:
        if bool(fresh.all()):
            return Window(froms, fresh, None)
        _, before = self.output.before(keys, froms)
        return Window(froms, fresh, before)

    def _replace(self, keys: Int64, froms: Int64, computed: Timeline) -> Revision:
        """Take ``computed`` as the node's timeline from ``froms`` on; return what really changed."""
        computed = pieces.clip(computed, froms)
        if len(self.output):
            changed, since = pieces.where_they_part(self.output.cut(keys, froms), computed)
        else:
            changed, since = np.ones(len(keys), np.bool_), froms
        if bool(changed.all()):
            news = Revision(keys, since, pieces.clip(computed, since))
        else:
            rows = np.flatnonzero(changed)
            news = Revision(keys[rows], since[rows], pieces.cut(computed, rows, since[rows]))
        self.output.replace_suffix(news.keys, news.froms, news.suffix)
        return news


class EventNode(_Node):
    """A leaf: an event operator over the events it was sent."""

    def __init__(self, expression: Expression, keys: KeyTable | None = None) -> None:
        self.operator = event_operator(expression)
        strings = StringTable()
        super().__init__(expression, keys, pieces.blank(self.operator.layout, strings))
        takes_values = expression.op == "latest_event_to_state"
        self.log = LogStore(columns.unknown_tagged(0, strings) if takes_values else None)
        self.origins = np.zeros(0, np.int64)

    def ingest(self, batch: LeafBatch, numbers: Int64 | None = None) -> Revision:
        """Add a batch of events in any order; positions held already change nothing. Returns what changed.

        ``numbers``: those of ``batch.keys`` in this node's table, when they are known already.
        """
        number = self.keys.intern_all(batch.keys) if numbers is None else numbers
        touched, place = np.unique(number, return_inverse=True)
        if not len(touched):
            return self.revision(touched, touched)
        count = max(int(touched[-1]) + 1, len(self.origins))
        if count > len(self.origins):
            self.origins = np.append(self.origins, np.full(count - len(self.origins), FOREVER, np.int64))
        earliest = np.full(len(touched), FOREVER, np.int64)
        np.minimum.at(earliest, place, batch.origins)
        moved = earliest < self.origins[touched]
        froms = np.where(moved, earliest, FOREVER)
        self.origins[touched] = np.minimum(self.origins[touched], earliest)
        if len(batch.time):
            rows_of = place[batch.key]
            new = sorted_log(len(touched), rows_of, batch.time, batch.position, self._coded(batch.values))
            first = np.full(len(touched), FOREVER, np.int64)
            np.minimum.at(first, rows_of, batch.time)
            froms = np.minimum(froms, first)
            with_rows = np.flatnonzero(first != FOREVER)
            if len(with_rows) == len(touched):
                self.log.add(touched, first, new)
            else:
                new = EventLog(
                    new.offsets[np.append(with_rows, len(touched))], new.times, new.positions, new.values
                )
                self.log.add(touched[with_rows], first[with_rows], new)
        need = np.flatnonzero(froms != FOREVER)
        if not len(need):
            return self.revision(need, need)
        keys, froms = touched[need], froms[need]
        self.prepare(count)
        events = self.log.since(keys, froms - max(self.operator.lookback - 1, 0))
        return self._replace(
            keys, froms, self.operator.apply(events, self._window(keys, froms, froms <= self.origins[keys]))
        )

    def prepare(self, keys: int) -> None:
        """Hold at least ``keys`` keys."""
        self.log.ensure_keys(keys)
        self.output.ensure_keys(keys)

    def rebuild(self, log: EventLog, origins: Int64) -> None:
        """Begin with these events and origins, as after ``ingest`` of them all. ``keys`` must be numbered
        already."""
        self.origins = origins
        self.prepare(len(origins))
        values = None if log.values is None else self._coded(log.values)
        everyone = np.arange(len(log.offsets) - 1, dtype=np.int64)
        since = np.full(len(everyone), -FOREVER, np.int64)
        self.log.add(everyone, since, EventLog(log.offsets, log.times, log.positions, values))
        keys = np.flatnonzero(origins != FOREVER)
        if len(keys):
            events = self.log.since(keys, np.full(len(keys), -FOREVER, np.int64))
            fresh = np.ones(len(keys), np.bool_)
            window = self._window(keys, origins[keys], fresh)
            self._replace(keys, origins[keys], self.operator.apply(events, window))

    def _coded(self, values: Tagged | None) -> Tagged | None:
        if values is None or self.log.strings is None:
            return None
        return columns.in_table(values, self.log.strings)


class DerivedNode(_Node):
    """A node over its children's timelines, which it holds copies of."""

    def __init__(self, expression: Expression, keys: KeyTable | None = None) -> None:
        self.operator = timeline_operator(expression)
        super().__init__(expression, keys, pieces.blank(self.operator.layout))
        self.inputs: list[TimelineStore | None] = [None for _ in inputs_of(expression)]
        self._stale = KeySet()
        self._shares: set[int] = set()

    def share(self, slot: int, child: TimelineStore) -> None:
        """Read a child's timeline where it is instead of holding a copy: its revisions only tell what
        changed."""
        self.inputs[slot] = child
        self._shares.add(slot)

    def receive(self, slot: int, revision: Revision) -> None:
        """Take a child's revision; ``advance`` computes what follows from it."""
        if not len(revision):
            return
        if slot not in self._shares:
            take_in(self.inputs, slot, revision)
        self._stale.add(revision.keys, revision.froms)

    def advance(self) -> Revision:
        """Compute again what the received revisions touch; returns what changed.

        A key that some child has not told of yet waits until it has.
        """
        keys = self._stale.marked()
        held = [timeline for timeline in self.inputs if timeline is not None]
        if not len(keys) or len(held) < len(self.inputs):
            none = np.zeros(0, np.int64)
            return self.revision(none, none)
        for timeline in held:
            timeline.ensure_keys(int(keys[-1]) + 1)
        self.output.ensure_keys(int(keys[-1]) + 1)
        begins = np.maximum.reduce([timeline.origins(keys) for timeline in held])
        keys, begins = keys[begins != FOREVER], begins[begins != FOREVER]
        if not len(keys):
            return self.revision(keys, keys)
        # A child begun anew tells everything from before its origin on: what the node had there goes.
        since = self._stale.take(keys)
        froms = np.maximum(since, begins)
        reach = froms - self.operator.lookback
        suffixes = [timeline.covering(keys, reach) for timeline in held]
        window = self._window(keys, froms, froms <= begins)
        return self._replace(keys, since, pieces.clip(self.operator.apply(suffixes, window), froms))


def take_in(inputs: list[TimelineStore | None], slot: int, revision: Revision) -> None:
    """Apply a child's revision to the copy held of it."""
    held = inputs[slot]
    if held is None:
        held = inputs[slot] = TimelineStore(revision.suffix.values)
    held.replace_suffix(revision.keys, revision.froms, revision.suffix)
