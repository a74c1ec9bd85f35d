"""Questions and answers: the value at an instant, the spans over a range, the change over a range.

Pure functions from one key's pieces of a ``Timeline`` to the models of ``answers``, and ``Reader``, which
takes questions as people put them: by key, with times in a unit. In-process evaluation and the workers'
queries both answer through ``Reader``.

Finality: a question about an instant below the watermark has its final answer. ``watermark`` None means that
there is none, as in a finished file: ``value_at`` then says ``final: false``, and the others leave it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

from .algebra.keytable import KeyTable
from .algebra.timelines import Timeline
from .algebra.timelinestore import TimelineStore
from .algebra.values import INT64_MAX, INT64_MIN, Flags, Int64, Linear, Tagged
from .answers import Change, KindName, SecondsByValue, Span, Spans, Value, ValueAt
from .errors import MetricError, QuestionError, UnknownNameError
from .events.times import check_unit, from_microseconds, question_time
from .language.durations import format_duration, parse_duration
from .nearest import nearest

Group = str | int | float | bool | None

MILLION = 1_000_000
MAX_INTERVALS = 100_000  # one question must not keep a worker busy for minutes
_MAX_COMPARED = 20_000  # finding the nearest name among more would take longer than other answers


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of one key: ``starts`` in microseconds; piece i is row ``first + i`` of ``values``."""

    starts: Int64
    first: int
    values: Flags | Tagged | Linear

    @staticmethod
    def of(timeline: Timeline | TimelineStore, row: int) -> Pieces:
        """The pieces of key ``row``; none when it is outside its domain everywhere."""
        if isinstance(timeline, TimelineStore):
            timeline, row = timeline.one(row), 0
        if row >= timeline.keys:
            return Pieces(timeline.starts[:0], 0, timeline.values)
        low, high = int(timeline.offsets[row]), int(timeline.offsets[row + 1])
        return Pieces(timeline.starts[low:high], low, timeline.values)

    def at(self, instant: int) -> int:
        """The piece that holds at ``instant``; -1 before the origin."""
        return int(np.searchsorted(self.starts, instant, "right")) - 1

    def known(self, i: int) -> bool:
        """Whether the value is known in piece ``i``."""
        if i < 0:
            return False
        if isinstance(self.values, Linear):
            return bool(self.values.known[self.first + i])
        return isinstance(self.values, Flags) or self.values.tags[self.first + i] != 0

    def exact(self, i: int, instant: int) -> Any:
        """The value of piece ``i`` at ``instant``: a Fraction for Linear, else the Python value."""
        row = self.first + i
        if i < 0:
            return None
        if isinstance(self.values, Flags):
            return bool(self.values.data[row])
        if isinstance(self.values, Tagged):
            return self.values.item(row)
        if not self.values.known[row]:
            return None
        num, slope = _fraction(self.values.num[row]), _fraction(self.values.slope[row])
        return (num + slope * (instant - int(self.starts[i]))) / MILLION

    def slope(self, i: int) -> int | float | None:
        """Units per second; None where the value is unknown."""
        if not self.known(i):
            return None
        return _number(_fraction(self.values.slope[self.first + i])) if isinstance(self.values, Linear) else 0

    def cut(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The pieces that meet ``[start, end)``: (piece, from, to), in order."""
        if start >= end or not len(self.starts):
            return
        low, high = max(self.at(start), 0), self.at(end - 1)
        edges = [max(start, int(self.starts[low])), *self.starts[low + 1 : high + 1].tolist(), end]
        for i in range(low, high + 1):
            yield i, edges[i - low], edges[i - low + 1]


def value_at(pieces: Pieces, kind: KindName, at: int, *, unit: str = "us") -> dict[str, Any]:
    """The fields value, since, until and (for Numeric) slope at ``at``."""
    i = pieces.at(at)
    since = from_microseconds(int(pieces.starts[i]), unit) if i >= 0 else None
    until = from_microseconds(int(pieces.starts[i + 1]), unit) if i + 1 < len(pieces.starts) else None
    fields = {"value": _value(pieces.exact(i, at)), "since": since, "until": until}
    return fields | {"slope": pieces.slope(i)} if kind == "numeric" else fields


def spans(pieces: Pieces, kind: KindName, start: int, end: int, *, unit: str = "us") -> list[Span]:
    """The pieces cut to ``[start, end)``; what is carried in counts, and before the origin there is none."""
    found = []
    for i, low, high in pieces.cut(start, end):
        fields: dict[str, Any] = {"slope": pieces.slope(i)} if kind == "numeric" else {}
        begin, stop = from_microseconds(low, unit), from_microseconds(high, unit)
        found.append(Span(start=begin, end=stop, value=_value(pieces.exact(i, low)), **fields))
    return found


def change(pieces: Pieces, kind: KindName, start: int, end: int) -> dict[str, Any]:
    """The field ``change`` (Numeric, Boolean) or ``seconds_by_value`` (State) over ``[start, end)``.

    Numeric: value at ``end`` minus value at the first instant in ``[start, end]`` at which it is known; None
    if there is none or it is unknown at ``end``. Boolean: seconds True. State: seconds per value in the order
    in which the values appear; unknown time, also that before the origin, is under None.
    """
    if kind == "numeric":
        return {"change": _numeric_change(pieces, start, end)}
    if kind == "boolean":
        return {"change": _seconds(sum(h - w for i, w, h in pieces.cut(start, end) if pieces.exact(i, w)))}
    spent: dict[tuple[type, Value], int] = {}  # by type, too: 1, 1.0 and True are different values
    origin = int(pieces.starts[0]) if len(pieces.starts) else end
    if start < min(origin, end):
        spent[type(None), None] = min(origin, end) - start
    for i, low, high in pieces.cut(start, end):
        value = pieces.exact(i, low)
        spent[type(value), value] = spent.get((type(value), value), 0) + high - low
    return {
        "seconds_by_value": [
            SecondsByValue(value=value, seconds=_seconds(time)) for (_, value), time in spent.items()
        ]
    }


def _numeric_change(pieces: Pieces, start: int, end: int) -> Value:
    last = pieces.at(end)
    if not pieces.known(last):
        return None
    first = max(pieces.at(start), 0)
    while not pieces.known(first):
        first += 1
    before = pieces.exact(first, instant := max(start, int(pieces.starts[first])))
    return _value(pieces.exact(last, end) - before) if instant <= end else None


def intervals(start: int, end: int, every: int) -> list[tuple[int, int]]:
    """Cut ``[start, end)`` at the multiples of ``every`` since the epoch; microseconds."""
    if (end - start) // every > MAX_INTERVALS:
        raise QuestionError(f"the range holds over {MAX_INTERVALS:,} intervals; shorten it or lengthen them")
    edges = [start, *range((start // every + 1) * every, end, every), end]
    return [(a, b) for a, b in pairwise(edges) if a < b]


def duration(every: object) -> int:
    """Microseconds of an interval: text such as ``1m``, a number of seconds (also as text), or a timedelta.

    Raises QuestionError when it is no positive whole number of microseconds.
    """
    if isinstance(every, timedelta):
        result = every // timedelta(microseconds=1)
    elif isinstance(every, str):
        try:
            result = parse_duration(f"{every}s" if every.strip().replace(".", "", 1).isdigit() else every)
        except MetricError as error:
            raise QuestionError(str(error)) from None
    elif isinstance(every, int | float) and not isinstance(every, bool) and math.isfinite(every):
        exact = Fraction(repr(every)) * MILLION
        if exact.denominator != 1:
            raise QuestionError(f"every {every!r} is not a whole number of microseconds")
        result = int(exact)
    else:
        raise QuestionError(f"every {every!r} is not a duration; write 1m, 30s, or a number of seconds")
    if result <= 0:
        raise QuestionError(f"every {every!r} is not longer than nothing; intervals are positive durations")
    return result


class Reader:
    """Answers questions about one node, by key, with times in one unit.

    ``names`` are the keys of the timeline's rows (a list, or the node's own table, which saves making an
    index), or for an aggregate its groups, with ``aggregate`` the function's name. ``timeline``: of all of
    them, or the store that keeps it up to date, of which a question reads its own keys' rows only;
    ``numbers``: of each name, its key in there (default: its place among the names).

    ``answerable_from`` (microseconds): below it pieces have been forgotten. A question about an instant of
    which nothing is kept is refused with a QuestionError that says so; ``retention`` is what was asked for.
    """

    def __init__(
        self,
        timeline: Timeline | TimelineStore,
        names: Sequence[Group] | KeyTable,
        kind: KindName,
        *,
        unit: str = "us",
        watermark: int | None = None,
        aggregate: str = "",
        numbers: Sequence[int] | Int64 | None = None,
        answerable_from: int | None = None,
        retention: int | None = None,
    ) -> None:
        check_unit(unit)
        self._timeline = timeline
        self._numbers = numbers
        self.names: Sequence[Group] = names.names if isinstance(names, KeyTable) else names
        self.kind = kind
        self.unit = unit
        self.watermark = watermark
        self.answerable_from = answerable_from
        self.retention = retention
        self._aggregate: dict[str, Any] = {"aggregate": aggregate} if aggregate else {}
        self._table = names.index if isinstance(names, KeyTable) else None
        # By type, too: 1, 1.0, True and "1" are different.
        rows = enumerate(self.names if self._table is None else ())
        self._index: dict[tuple[type, Group], int] = {(type(name), name): row for row, name in rows}

    def value_at(self, key: Group, at: object) -> ValueAt:
        """The value of ``key`` at instant ``at``, since when it holds and until when it is known to hold."""
        pieces, instant = self._pieces(key), question_time(at, self.unit)
        self._check_kept(key, pieces, instant)
        return ValueAt(
            key=key,
            **self._aggregate,
            at=from_microseconds(instant, self.unit),
            **value_at(pieces, self.kind, instant, unit=self.unit),
            final=self.watermark is not None and instant < self.watermark,
        )

    def spans(self, key: Group, start: object, end: object) -> Spans:
        """The spans of ``key`` over ``[start, end)``."""
        pieces, (low, high) = self._pieces(key), self._range(start, end)
        self._check_kept(key, pieces, low)
        found = spans(pieces, self.kind, low, high, unit=self.unit)
        return Spans(key=key, **self._labels(low, high), spans=found, **self._final(high - 1))

    def change(self, key: Group, start: object, end: object) -> Change:
        """The change of ``key`` over ``[start, end)``."""
        pieces, (low, high) = self._pieces(key), self._range(start, end)
        self._check_kept(key, pieces, low)
        return self._change(key, pieces, low, high)

    def change_every(self, key: Group, start: object, end: object, every: object) -> list[Change]:
        """The change in each interval of length ``every``, aligned to the epoch, cut to ``[start, end)``."""
        pieces, (low, high) = self._pieces(key), self._range(start, end)
        self._check_kept(key, pieces, low)
        return [self._change(key, pieces, a, b) for a, b in intervals(low, high, duration(every))]

    def _check_kept(self, key: Group, pieces: Pieces, instant: int) -> None:
        if self.answerable_from is None or not len(pieces.starts):
            return
        first = int(pieces.starts[0])
        if not instant < first < self.answerable_from:
            return
        asked, kept = (from_microseconds(t, self.unit) for t in (instant, first))
        edge = from_microseconds(self.answerable_from, self.unit)
        why = "the worker's state has reached its limit; more partitions or a retention make room"
        if self.retention is not None:
            why = f"the retention is {format_duration(self.retention)}; raise the retention to keep more"
        what = "group" if self._aggregate else "key"
        raise QuestionError(
            f"what {what} {key!r} was at {asked!r} is no longer kept: everything is from {edge!r} on, and of "
            f"this {what} from {kept!r}; {why}"
        )

    def _change(self, key: Group, pieces: Pieces, low: int, high: int) -> Change:
        last = high if self.kind == "numeric" else high - 1
        fields = change(pieces, self.kind, low, high)
        return Change(key=key, **self._labels(low, high), **fields, **self._final(last))

    def _labels(self, low: int, high: int) -> dict[str, Any]:
        start, end = from_microseconds(low, self.unit), from_microseconds(high, self.unit)
        return {**self._aggregate, "start": start, "end": end, "kind": self.kind}

    def _final(self, last: int) -> dict[str, Any]:
        return {} if self.watermark is None else {"final": last < self.watermark}

    def _range(self, start: object, end: object) -> tuple[int, int]:
        low, high = question_time(start, self.unit), question_time(end, self.unit)
        if high < low:
            raise QuestionError(f"the range [{start!r}, {end!r}) ends before it starts; swap its ends")
        return low, high

    def _pieces(self, key: Group) -> Pieces:
        row = self._row(key)
        if row is None:
            self.refuse(key)
        return Pieces.of(self._timeline, row if self._numbers is None else int(self._numbers[row]))

    def refuse(self, key: Group) -> NoReturn:
        """Raise UnknownNameError for a key that is not known, with the nearest that is."""
        raise UnknownNameError(self._unknown(key))

    def _row(self, key: Group) -> int | None:
        if not isinstance(key, str | int | float | None):
            return None
        if self._table is None:
            return self._index.get((type(key), key))
        row = self._table.get(key)  # type: ignore[arg-type]
        return row if row is not None and type(self.names[row]) is type(key) else None

    def _unknown(self, key: Group) -> str:
        what = "group" if self._aggregate else "key"
        other = next((name for name in _lookalikes(key) if self._row(name) is not None), None)
        if other is not None:
            return f"no {what} {key!r}; did you mean {other!r} ({type(other).__name__})?"
        if not self.names:
            return f"no {what} {key!r}: there are none, as there was no valid event"
        compared = self.names if len(self.names) <= _MAX_COMPARED else ()
        if near := nearest(str(key), map(str, compared)):
            return f"no {what} {key!r}; did you mean {near!r}?"
        some = ", ".join(repr(name) for name in self.names[:5])
        more = f" and {len(self.names) - 5:,} more" if len(self.names) > 5 else ""
        return f"no {what} {key!r}; there are {some}{more}"


def _lookalikes(key: Group) -> Iterator[Group]:
    if isinstance(key, int):
        yield str(key)
    elif isinstance(key, str):
        try:
            yield int(key)
        except ValueError:
            return


def in_order(names: Sequence[Group]) -> list[Group]:
    """``names`` in the order of output: null, bools, numbers by size, strings by code point."""
    return sorted(names, key=_rank)


def _rank(name: Group) -> tuple[int, Any]:
    if name is None:
        return 0, 0
    if isinstance(name, str):
        return 3, name
    return (1 if isinstance(name, bool) else 2), name


def _fraction(number: Any) -> Fraction:
    return number if isinstance(number, Fraction) else Fraction(int(number))


def _number(exact: Fraction) -> int | float | None:
    if exact.denominator == 1 and INT64_MIN <= exact.numerator <= INT64_MAX:
        return exact.numerator
    try:
        return exact.numerator / exact.denominator  # rounds once, to the nearest float
    except OverflowError:
        return None


def _value(value: Any) -> Any:
    if isinstance(value, Fraction):
        return _number(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
        return float(value)
    return value


def _seconds(microseconds: int) -> int | float:
    whole, rest = divmod(microseconds, MILLION)
    return whole if rest == 0 else microseconds / MILLION
