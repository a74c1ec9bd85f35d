"""The leaf of a changelog: a timeline per key that is what messages say, slopes included.

Each message replaces what was said of its span. It counts once, and only with a greater revision than the
key's last: the same message sent twice, or an old one sent late, changes nothing. Of each key the log holds
one row, its last revision, and the output everything else. What the messages say that holds without any
event is the node's ``before``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from timeline_workers.algebra.event_log import EventLog, LogStore
from timeline_workers.algebra.leaf_input import LeafBatch
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.overwriting import overwrite
from timeline_workers.algebra.timeline.revisions import Revision
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.columns.values import Flags, Int64, Linear, StringTable, Tagged, Values
from timeline_workers.errors import StateError
from timeline_workers.language.tree import Expression

from .node import EventNode
from .published_values import packed, unpacked, value_of

MILLION = 1_000_000
BEFORE_ALL = -(2**61)
# Later than whatever a compacting leaf forgets.
_KEPT = 2**61
_INT = 2**62


class Overwritten(NamedTuple):
    """One message: on ``[since, until)``, microseconds (``until`` None: for ever), a key's timeline is
    ``value``; ``slope``: of a Numeric, per second. ``withdrawn``: what holds just before goes on. ``before``:
    as the node's.
    """

    since: int
    until: int | None
    revision: int
    value: bool | int | float | str | Fraction | None
    slope: Fraction | None
    withdrawn: bool
    before: str = ""

    def text(self) -> str:
        """The same as a leaf is sent it, as the value of an event."""
        slope = None if self.slope is None else str(self.slope)
        said = [self.since, self.until, self.revision, packed(self.value), slope, self.withdrawn]
        return json.dumps([*said, self.before] if self.before else said)

    @staticmethod
    def of(text: str) -> Overwritten:
        """Reverse ``text``. Raises StateError for another one."""
        try:
            since, until, revision, value, slope, withdrawn, *more = json.loads(text)
            exact = None if slope is None else Fraction(slope)
            return Overwritten(since, until, revision, unpacked(value), exact, withdrawn, *more)
        except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            raise StateError(f"{text!r:.80} is no message of a changelog: {error}") from error


class ChangelogNode(EventNode):
    """A leaf over the messages of a changelog, which come as events with these as their values."""

    def __init__(self, expression: Expression, keys: KeyTable | None = None) -> None:
        super().__init__(expression, keys)
        self.takes_values = True
        self.log = LogStore(operations.unknown_tagged(0, StringTable()))

    def ingest(self, batch: LeafBatch, numbers: Int64 | None = None) -> Revision:
        """Take messages in the order of their positions. Returns what changed."""
        number = self.keys.intern_all(batch.keys) if numbers is None else numbers
        self.prepare(int(number.max(initial=-1)) + 1)
        if not len(batch.time):
            return self._unknown(number)
        assert batch.values is not None
        said: dict[int, list[Overwritten]] = {}
        where = batch.position
        for row in np.lexsort((where.minor, where.major, where.partition)).tolist():
            text = batch.values.item(row)
            assert isinstance(text, str)
            said.setdefault(int(number[batch.key[row]]), []).append(Overwritten.of(text))
        touched: list[int] = []
        froms: list[int] = []
        made: list[list[tuple[int, Any]]] = []
        revisions: list[int] = []
        newest: Overwritten | None = None
        for key in sorted(said):
            held = self._revision(key)
            new = []
            for one in said[key]:
                if one.revision > held:
                    held = one.revision
                    new.append(one)
                    newest = one if newest is None or newest.revision < held else newest
            if not new:
                continue
            floor = BEFORE_ALL if self.compacted is None else self.compacted
            since = max(floor, min(one.since for one in new))
            touched.append(key)
            revisions.append(held)
            froms.append(since)
            made.append(self._overwritten(key, since, new))
        keys, instants = np.array(touched, np.int64), np.array(froms, np.int64)
        if not touched:
            return self.revision(keys, instants)
        self._remember(keys, revisions)
        self.before = "" if newest is None else newest.before
        computed = self._timeline(made)
        revision = self._replace(keys, instants, self.output.place(keys, instants), computed)
        self.origins[keys] = self.output.origins(keys)
        self.seen[keys] = np.maximum(self.seen[keys], instants)
        return revision

    def _overwritten(self, key: int, since: int, new: list[Overwritten]) -> list[tuple[int, Any]]:
        """What is held of ``key`` from just before ``since`` on, with ``new``."""
        own = np.array([key])
        held = list(_items(self.output.cut(own, np.array([since - 1]))))
        for one in new:
            if one.until is not None and one.until <= since:
                continue
            value = None if one.withdrawn else self._value(one)
            held = overwrite(held, max(one.since, since), one.until, value, _carry)
        return held

    def _value(self, one: Overwritten) -> tuple[Any, Any]:
        blank = self.output.blank
        if isinstance(blank, Flags):
            return bool(one.value), 0
        if isinstance(blank, Tagged):
            return (float(one.value) if isinstance(one.value, Fraction) else one.value), 0
        if one.value is None or isinstance(one.value, str):
            return None, 0
        exact = Fraction(repr(one.value)) if isinstance(one.value, float) else Fraction(one.value)
        return exact * MILLION, one.slope or Fraction(0)

    def _timeline(self, made: list[list[tuple[int, Any]]]) -> Timeline:
        offsets = np.cumsum([0, *map(len, made)], dtype=np.int64)
        starts = np.array([start for held in made for start, _ in held], np.int64)
        values = [value for held in made for _, value in held]
        return pieces.compact(offsets, starts, self._column(values))

    def _column(self, values: list[tuple[Any, Any]]) -> Values:
        blank = self.output.blank
        if isinstance(blank, Flags):
            return Flags(np.array([value for value, _ in values], np.bool_))
        if isinstance(blank, Tagged):
            return Tagged.of([value for value, _ in values], blank.strings)
        known = np.array([value is not None for value, _ in values], np.bool_)
        return Linear(known, _numbers([v or 0 for v, _ in values]), _numbers([s for _, s in values]))

    def _revision(self, key: int) -> int:
        held = self.log.rows_of(np.array([key]))
        if not len(held):
            return -1
        assert held.values is not None
        return int(held.values.bits[0])

    def _remember(self, keys: Int64, revisions: list[int]) -> None:
        none = np.zeros(len(keys), np.int64)
        self.log.replace(
            keys,
            EventLog(
                np.arange(len(keys) + 1, dtype=np.int64),
                np.full(len(keys), _KEPT, np.int64),
                Positions(none.astype(np.int32), none, none),
                Tagged.of(revisions),
            ),
        )

    def _unknown(self, numbers: Int64) -> Revision:
        """What there is of keys of which no message tells: at the instant 0 it is what was before."""
        keys = np.unique(numbers)
        keys = keys[self.output.origins(keys) > BEFORE_ALL] if len(self.output) else keys
        if len(self.output) or not len(keys):
            return self.revision(keys[:0], keys[:0])
        froms = np.zeros(len(keys), np.int64)
        nothing = self._value(Overwritten(0, None, 0, value_of(self.before), None, False))
        computed = self._timeline([[(0, nothing)] for _ in keys.tolist()])
        return self._replace(keys, froms, None, computed)


def _carry(value: tuple[Any, Any], by: int) -> tuple[Any, Any]:
    at, slope = value
    return (at + slope * by, slope) if slope else value


def _items(timeline: Timeline) -> Iterator[tuple[int, tuple[Any, Any]]]:
    values = timeline.values
    for row, start in enumerate(timeline.starts.tolist()):
        if isinstance(values, Flags):
            yield start, (bool(values.data[row]), 0)
        elif isinstance(values, Tagged):
            yield start, (values.item(row), 0)
        elif values.known[row]:
            yield start, (_exact(values.num[row]), _exact(values.slope[row]))
        else:
            yield start, (None, 0)


def _exact(number: Any) -> Fraction:
    return number if isinstance(number, Fraction) else Fraction(int(number))


def _numbers(exact: list[Any]) -> Any:
    if all(number.denominator == 1 and abs(number) < _INT for number in exact):
        return np.array([int(number) for number in exact], np.int64)
    made = np.empty(len(exact), object)
    made[:] = [Fraction(number) for number in exact]
    return made
