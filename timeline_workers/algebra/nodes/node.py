"""The state of one node, and how it applies revisions.

A node holds what it was told (a leaf its events, a derived node its children's timelines) and its own
timeline, for all its keys. What is new touches some keys from some instant on; the node computes those
suffixes again from its inputs and its own output just before, compares them with what it had, and reports
where they really changed. In-order input touches only the ends, late input exactly what it changes, and
everything at once is the same path from the origins.

A node is never told anything new of an instant below its watermark, so it can *compact*: forget what
computing from the watermark on does not read. Of each key it keeps, in every timeline, the last row that
began before the horizon, so that "the value just before" is there for whatever comes, and that row's own
start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from timeline_workers.algebra.event_log import EventLog, LogStore, no_events, sorted_log
from timeline_workers.algebra.leaf_input import LeafBatch
from timeline_workers.algebra.operators import RecomputeRequest, event_operator, inputs_of, timeline_operator
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.revisions import KeySet, Revision, above, take_in
from timeline_workers.algebra.timeline.timeline_store import Place, TimelineStore
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.columns.rows import FOREVER, distinct, earliest
from timeline_workers.columns.values import Bools, Flags, Int64, StringTable, Tagged, Values
from timeline_workers.errors import StateError
from timeline_workers.language.operator_table import row_of
from timeline_workers.language.tree import Changelog, Expression

from .key_rows import DerivedRows, KeyRows, LeafRows, RowsShape
from .protocol import News, NodeOfKeys, Part, later_mark, no_output


class _Node(NodeOfKeys):
    """``compacted``: nothing new of an instant below it is taken, None before the first ``compact``;
    ``answerable_from``: below it rows of the output were forgotten, None while there are all.
    """

    def __init__(self, expression: Expression, keys: KeyTable | None, blank: Values) -> None:
        self.expression = expression
        self.keys = KeyTable() if keys is None else keys
        self.output = TimelineStore(blank)
        self.before = ""
        self.compacted: int | None = None
        self.answerable_from: int | None = None

    def _compact_output(self, watermark: int, horizons: Int64 | None) -> None:
        self.compacted = watermark if self.compacted is None else max(self.compacted, watermark)
        if horizons is None:
            return
        limits = np.full(self.output.keys, -FOREVER, np.int64)
        told = min(len(limits), len(horizons))
        limits[:told] = np.minimum(horizons[:told], watermark)
        compacted = self.output.compact(limits)
        if compacted.any():
            highest = int(limits[compacted].max())
            held = self.answerable_from
            self.answerable_from = highest if held is None else max(held, highest)

    def output_called(self, name: str = "") -> TimelineStore:
        """See ``Node``."""
        if name:
            raise no_output(self.expression, name, ())
        return self.output

    def begin_from(self, slots: Sequence[int], instant: int) -> None:
        """See ``Node``."""
        self.answerable_from = later_mark(self.answerable_from, instant)

    def _part(self, slots: int) -> list[Part]:
        return [Part(self.expression, {"": self.output}, self.answerable_from, frozenset(range(slots)))]

    def revision(self, keys: Int64, froms: Int64) -> Revision:
        """The node's own timeline of ``keys`` (ascending, in their domain) from ``froms`` on."""
        return Revision(keys, froms, self.output.cut(keys, froms))

    def _replace(self, keys: Int64, froms: Int64, place: Place | None, computed: Timeline) -> Revision:
        """Take ``computed`` as the node's timeline from ``froms`` on, which lie at ``place`` in it; return
        what really changed."""
        computed = pieces.clip(computed, froms)
        if place is None:
            self.output.put_rows(keys, computed)
            return Revision(keys, froms, computed)
        rows, since, news = self.output.replace_from(place, computed)
        return Revision(keys if len(rows) == len(keys) else keys[rows], since, news)


class EventNode(_Node):
    """A leaf: an event operator over the events it was sent.

    ``origins``: int64[K], the time of each key's earliest event; ``seen``: int64[K], an instant at or after
    which it had its last one; ``too_late``: events that came although the leaf had compacted their instant,
    and were dropped: a feeder that keeps to its watermark sends none.
    """

    def __init__(self, expression: Expression, keys: KeyTable | None = None) -> None:
        self.operator = event_operator(expression)
        strings = StringTable()
        super().__init__(expression, keys, pieces.blank(self.operator.layout, strings))
        self.takes_values = isinstance(expression, Changelog) or "column" in row_of(expression).arguments
        self.log = LogStore(operations.unknown_tagged(0, strings) if self.takes_values else None)
        self.origins = np.zeros(0, np.int64)
        self.seen = np.zeros(0, np.int64)
        self.too_late = 0

    def take_events(self, batch: LeafBatch) -> News:
        """See ``Node``."""
        if (batch.values is None) == self.takes_values:
            raise StateError(f"a batch {'without' if batch.values is None else 'with'} values of a column")
        return {"": self.ingest(batch)}

    def receive(self, slot: int, revision: Revision, floor: int | None = None) -> None:
        """Refuse: a leaf has no inputs."""
        raise StateError(f"{self.expression.op} looks at events: it takes no revisions")

    def settle(self) -> News:
        """Nothing: whatever a leaf takes it computes at once."""
        return {}

    def parts(self) -> Sequence[Part]:
        """See ``Node``."""
        return self._part(0)

    def ingest(self, batch: LeafBatch, numbers: Int64 | None = None) -> Revision:
        """Add a batch of events in any order; positions held already change nothing. Returns what changed.

        ``numbers``: those of ``batch.keys`` in this node's table, when they are known already.
        """
        number = self.keys.intern_all(batch.keys) if numbers is None else numbers
        touched, place = distinct(number)
        if not len(touched):
            return self.revision(touched, touched)
        batch = self._in_time(batch)
        self.prepare(int(touched[-1]) + 1)
        had = self.origins[touched]
        origins = batch.origins if touched is number else earliest(len(touched), place, batch.origins)
        np.maximum.at(self.seen, number, batch.origins)
        froms = np.where(origins < had, origins, FOREVER)
        self.origins[touched] = np.minimum(had, origins)
        events = None
        if len(batch.time):
            rows_of = batch.key if touched is number else place[batch.key]
            if self.operator.keeps_first:
                first = self._keep_first(touched, rows_of, batch)
            else:
                first, events = self._keep_all(touched, rows_of, batch)
                if self.operator.lookback or bool((froms < first).any()):
                    events = None
            froms = np.minimum(froms, first)
        need = np.flatnonzero(froms != FOREVER)
        if not len(need):
            return self.revision(need, need)
        keys, froms = touched[need], froms[need]
        if events is None:
            events = self.log.since(keys, froms - max(self.operator.lookback - 1, 0))
        at = self.output.place(keys, froms)
        request = _request(froms, froms <= self.origins[keys], at)
        return self._replace(keys, froms, at, self.operator.apply(events, request))

    def _in_time(self, batch: LeafBatch) -> LeafBatch:
        """``batch`` without what the leaf, having compacted, could not take into account."""
        if self.compacted is None:
            return batch
        origins = np.maximum(batch.origins, self.compacted)
        late = batch.time < self.compacted
        if not late.any():
            return replace(batch, origins=origins)
        self.too_late += int(late.sum())
        return batch.without(late, origins)

    def _keep_all(self, touched: Int64, rows_of: Int64, batch: LeafBatch) -> tuple[Int64, EventLog]:
        """Hold all events. Returns each key's first instant, FOREVER where it has none, and of the keys that
        have one all events from there on."""
        new = sorted_log(len(touched), rows_of, batch.time, batch.position, self._coded(batch.values))
        first = np.full(len(touched), FOREVER, np.int64)
        with_rows = np.flatnonzero(new.offsets[1:] > new.offsets[:-1])
        first[with_rows] = new.times[new.offsets[with_rows]]
        last = new.times[new.offsets[with_rows + 1] - 1]
        self.seen[touched[with_rows]] = np.maximum(self.seen[touched[with_rows]], last)
        if len(with_rows) == len(touched):
            return first, self.log.add(touched, first, new)
        offsets = new.offsets[np.append(with_rows, len(touched))]
        new = EventLog(offsets, new.times, new.positions, new.values)
        return first, self.log.add(touched[with_rows], first[with_rows], new)

    def _keep_first(self, touched: Int64, rows_of: Int64, batch: LeafBatch) -> Int64:
        """Hold each key's earliest event only. Returns its instant, FOREVER where an earlier one is held."""
        first = earliest(len(touched), rows_of, batch.time)
        held = np.flatnonzero(first != FOREVER)
        self.seen[touched[held]] = np.maximum(self.seen[touched[held]], first[held])
        if len(self.output):
            found, values = self.output.before(touched[held], first[held] + 1)
            assert isinstance(values, Flags)
            held = held[~(found & values.data)]
        news = np.full(len(touched), FOREVER, np.int64)
        news[held] = first[held]
        rows = np.flatnonzero(batch.time == news[rows_of])
        new = sorted_log(len(touched), rows_of[rows], batch.time[rows], batch.position.take(rows), None)
        one = new.offsets[held]
        self.log.replace(
            touched[held],
            EventLog(np.arange(len(held) + 1, dtype=np.int64), new.times[one], new.positions.take(one), None),
        )
        return news

    def prepare(self, keys: int) -> None:
        """Hold at least ``keys`` keys."""
        self.log.ensure_keys(keys)
        self.output.ensure_keys(keys)
        more = keys - len(self.origins)
        if more > 0:
            self.origins = np.append(self.origins, np.full(more, FOREVER, np.int64))
            self.seen = np.append(self.seen, np.full(more, -FOREVER, np.int64))

    def compact(self, watermark: int, horizons: Int64 | None) -> None:
        """Forget what no event at or after ``watermark`` (microseconds) needs.

        ``horizons``: int64, per key, how far the output may be forgotten (at most to the watermark); None,
        and keys beyond its end: not at all. No event before ``watermark`` must come afterwards.
        """
        self.log.compact(watermark - max(self.operator.lookback - 1, 0))
        self._compact_output(watermark, horizons)
        if self.log.strings is not None:
            strings = StringTable()
            self.output.recode(strings)
            self.log.recode(strings)

    def copy_out(self, keys: Int64) -> LeafRows:
        """What is held of ``keys``."""
        self.prepare(int(keys.max()) + 1 if len(keys) else 0)
        return LeafRows(
            self.origins[keys], self.seen[keys], self.log.rows_of(keys), self.output.rows_of(keys)
        )

    def take_out(self, keys: Int64) -> LeafRows:
        """What was held of ``keys``; they keep their numbers, and are unknown from here on."""
        rows = self.copy_out(keys)
        self.origins[keys], self.seen[keys] = FOREVER, -FOREVER
        self.log.replace(keys, no_events(rows.log, len(keys)))
        self.output.put_rows(keys, pieces.empty(self.output.blank, len(keys)))
        return rows

    def put_back(self, keys: Int64, rows: KeyRows) -> None:
        """Hold ``rows`` (of a leaf) for ``keys``, distinct numbers in the node's table, of which nothing is
        held."""
        assert isinstance(rows, LeafRows)
        if not len(keys):
            return
        self.prepare(int(keys.max()) + 1)
        self.origins[keys], self.seen[keys] = rows.origins, rows.seen
        self.log.replace(keys, rows.log)
        self.output.put_rows(keys, rows.output)

    def renumber(self, keep: Int64) -> None:
        """Key ``keep[i]`` becomes key ``i``; all others are forgotten, names included."""
        self.keys = self.keys.renumbered(keep)
        self.prepare(int(keep.max()) + 1 if len(keep) else 0)
        self.origins, self.seen = self.origins[keep], self.seen[keep]
        self.log.renumber(keep)
        self.output.renumber(keep)

    def copy_all(self) -> LeafRows:
        """See ``Node``."""
        return self.copy_out(self._everyone())

    def put_all(self, rows: LeafRows) -> None:
        """See ``Node``."""
        self._check_rows(rows)
        self.put_back(self._everyone(), rows)

    @property
    def rows_shape(self) -> RowsShape:
        """See ``Node``."""
        return RowsShape("leaf")

    def counts(self) -> dict[str, int]:
        """See ``Node``."""
        points = len(self.output)
        return {"change_points": points, "input_change_points": 0, "events": len(self.log)}

    @property
    def idle_reach(self) -> int:
        """See ``Node``."""
        return self.operator.lookback

    def last_news(self, keys: Int64) -> Int64:
        """The last instant at which anything is known to happen to each key; it may lie in the future."""
        return np.maximum(self.seen[keys], self.output.last_starts(keys))

    def nbytes(self) -> int:
        """The memory that rows take, in bytes; names and strings aside."""
        return self.log.nbytes() + self.output.nbytes() + self.origins.nbytes + self.seen.nbytes

    def rebuild(self, log: EventLog, origins: Int64) -> None:
        """Begin with these events and origins, as after ``ingest`` of them all. ``keys`` must be numbered
        already."""
        self.prepare(len(origins))
        self.origins = origins
        values = None if log.values is None else self._coded(log.values)
        everyone = np.arange(len(log.offsets) - 1, dtype=np.int64)
        since = np.full(len(everyone), -FOREVER, np.int64)
        self.log.add(everyone, since, EventLog(log.offsets, log.times, log.positions, values))
        keys = np.flatnonzero(origins != FOREVER)
        self.seen[keys] = np.maximum(origins[keys], self.log.last_times(keys))
        if len(keys):
            events = self.log.since(keys, np.full(len(keys), -FOREVER, np.int64))
            request = RecomputeRequest(origins[keys], np.ones(len(keys), np.bool_), None)
            at = self.output.place(keys, origins[keys])
            self._replace(keys, origins[keys], at, self.operator.apply(events, request))

    def _coded(self, values: Tagged | None) -> Tagged | None:
        if values is None or self.log.strings is None:
            return None
        return operations.in_table(values, self.log.strings)


class DerivedNode(_Node):
    """A node over its children's timelines, which it holds copies of. ``stale``: what is to be computed."""

    def __init__(self, expression: Expression, keys: KeyTable | None = None) -> None:
        self.operator = timeline_operator(expression)
        super().__init__(expression, keys, pieces.blank(self.operator.layout))
        self.inputs: list[TimelineStore | None] = [None for _ in inputs_of(expression)]
        self.stale = KeySet()
        self._shares: set[int] = set()

    def share(self, slot: int, child: TimelineStore) -> None:
        """Read a child's timeline where it is instead of holding a copy: its revisions only tell what
        changed."""
        self.inputs[slot] = child
        self._shares.add(slot)

    def settle(self) -> News:
        """See ``Node``."""
        return {"": self.advance()}

    def parts(self) -> Sequence[Part]:
        """See ``Node``."""
        return self._part(len(self.inputs))

    def receive(self, slot: int, revision: Revision, floor: int | None = None) -> None:
        """Take a child's revision; ``advance`` computes what follows from it.

        What is held of instants below ``floor`` is complete and final: it stays as it is, whatever the
        revision says of it; so does what lies below the watermark at which the node was compacted.
        """
        if not len(revision):
            return
        if slot not in self._shares:
            revision = above(self.inputs[slot], revision, self.compacted, floor)
            take_in(self.inputs, slot, revision)
        self.stale.add(revision.keys, revision.froms)

    def compact(self, watermark: int, horizons: Int64 | None) -> None:
        """Forget what no revision from ``watermark`` (microseconds) or later on needs.

        ``horizons``: as for ``EventNode.compact``. Revisions from before ``watermark`` are cut there
        afterwards.
        """
        for slot, held in enumerate(self.inputs):
            if held is not None and slot not in self._shares:
                held.compact(np.full(held.keys, watermark - self.operator.lookback, np.int64))
                held.recode(StringTable())
        self._compact_output(watermark, horizons)

    def copy_out(self, keys: Int64) -> DerivedRows:
        """What is held of ``keys``."""
        top = int(keys.max()) + 1 if len(keys) else 0
        self.output.ensure_keys(top)
        inputs: list[Timeline | None] = []
        for held in self.inputs:
            if held is not None:
                held.ensure_keys(top)
            inputs.append(None if held is None else held.rows_of(keys))
        return DerivedRows(tuple(inputs), self.output.rows_of(keys), self.stale.peek(keys))

    def take_out(self, keys: Int64) -> DerivedRows:
        """What was held of ``keys``; they keep their numbers, and are unknown from here on."""
        rows = self.copy_out(keys)
        self.stale.take(self.stale.among(keys))
        for held in self.inputs:
            if held is not None:
                held.put_rows(keys, pieces.empty(held.blank, len(keys)))
        self.output.put_rows(keys, pieces.empty(self.output.blank, len(keys)))
        return rows

    def put_back(self, keys: Int64, rows: KeyRows) -> None:
        """Hold ``rows`` (of a derived node) for ``keys``, distinct numbers in the node's table, of which
        nothing is held."""
        assert isinstance(rows, DerivedRows)
        for slot, timeline in enumerate(rows.inputs):
            if timeline is None:
                continue
            held = self.inputs[slot]
            if held is None:
                held = self.inputs[slot] = TimelineStore(timeline.values)
            held.put_rows(keys, timeline)
        self.output.put_rows(keys, rows.output)
        waiting = np.flatnonzero(rows.stale != FOREVER)
        self.stale.add(keys[waiting], rows.stale[waiting])

    def copy_all(self) -> DerivedRows:
        """See ``Node``."""
        return self.copy_out(self._everyone())

    def put_all(self, rows: DerivedRows) -> None:
        """See ``Node``."""
        self._check_rows(rows)
        self.put_back(self._everyone(), rows)

    @property
    def rows_shape(self) -> RowsShape:
        """See ``Node``."""
        return RowsShape("derived", slots=len(self.inputs))

    def counts(self) -> dict[str, int]:
        """See ``Node``."""
        points = sum(len(held) for held in self.inputs if held is not None)
        return {"change_points": len(self.output), "input_change_points": points, "events": 0}

    @property
    def idle_reach(self) -> int:
        """See ``Node``."""
        return self.operator.lookback

    def renumber(self, keep: Int64) -> None:
        """Key ``keep[i]`` becomes key ``i``; all others are forgotten, names included."""
        self.keys = self.keys.renumbered(keep)
        top = int(keep.max()) + 1 if len(keep) else 0
        for held in self.inputs:
            if held is not None:
                held.ensure_keys(top)
                held.renumber(keep)
        self.output.ensure_keys(top)
        self.output.renumber(keep)
        self.stale.renumber(keep)

    def last_news(self, keys: Int64) -> Int64:
        """The last instant at which anything is known to happen to each key; it may lie in the future, and
        is FOREVER for a key that waits for an input to tell of it."""
        top = int(keys.max()) + 1 if len(keys) else 0
        latest = np.full(len(keys), -FOREVER, np.int64)
        for held in (self.output, *self.inputs):
            if held is not None:
                held.ensure_keys(top)
                latest = np.maximum(latest, held.last_starts(keys))
        return np.where(self.stale.peek(keys) != FOREVER, FOREVER, latest)

    def nbytes(self) -> int:
        """The memory that rows take, in bytes; names and strings aside."""
        own = [held for slot, held in enumerate(self.inputs) if held is not None and slot not in self._shares]
        return self.output.nbytes() + sum(held.nbytes() for held in own)

    def advance(self) -> Revision:
        """Compute again what the received revisions touch; returns what changed.

        A key that some child has not told of yet waits until it has.
        """
        keys = self.stale.marked()
        held = [timeline for timeline in self.inputs if timeline is not None]
        if not len(keys) or len(held) < len(self.inputs):
            none = np.zeros(0, np.int64)
            return self.revision(none, none)
        for timeline in held:
            timeline.ensure_keys(int(keys[-1]) + 1)
        self.output.ensure_keys(int(keys[-1]) + 1)
        origins = [timeline.origins(keys) for timeline in held]
        begins = np.maximum.reduce(origins)
        known = np.flatnonzero(begins != FOREVER)
        if not len(known):
            return self.revision(known, known)
        if len(known) < len(keys):
            keys, begins, origins = keys[known], begins[known], [one[known] for one in origins]
        # A child begun anew tells everything from before its origin on: what the node had there goes.
        since = self.stale.take(keys)
        froms = np.maximum(since, begins)
        reach = froms - self.operator.lookback
        suffixes = [child.covering(keys, reach, first) for child, first in zip(held, origins, strict=True)]
        place = self.output.place(keys, froms)
        request = _request(froms, froms <= begins, place)
        computed = pieces.clip(self.operator.apply(suffixes, request), froms)
        if place is not None and bool((since != froms).any()):
            place = self.output.place(keys, since)
        return self._replace(keys, since, place, computed)


def _request(froms: Int64, fresh: Bools, place: Place | None) -> RecomputeRequest:
    return RecomputeRequest(froms, fresh, None if place is None or bool(fresh.all()) else place.carried)
