"""Questions and answers: the value at an instant, the spans over a range, the change over a range.

``Reader`` takes questions as people put them: by key, with times in a unit. In-process evaluation and the
workers' queries both answer through it; ``one_key`` holds what one key's pieces say.

Finality: a question about an instant below the watermark has its final answer. ``watermark`` None means that
there is none, as in a finished file: ``value_at`` then says ``final: false``, and the others leave it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, NoReturn

from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.columns.values import Int64
from timeline_workers.errors import Code, MetricError, QuestionError, UnknownNameError
from timeline_workers.events.times import check_unit, from_microseconds, question_time
from timeline_workers.language.durations import format_duration, parse_duration
from timeline_workers.language.suggestions import nearest
from timeline_workers.language.tree import Expression

from .answer_models import Change, KindName, Spans, ValueAt
from .one_key import MILLION, Pieces, change, spans, value_at, without_events

Group = str | int | float | bool | None

MAX_INTERVALS = 100_000  # one question must not keep a worker busy for minutes
_MAX_COMPARED = 20_000  # finding the nearest name among more would take longer than other answers


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
    """Answers questions about one node, that of ``expression``, by key, with times in one unit.

    ``names`` are the keys of the timeline's rows (a list, or the node's own table, which saves making an
    index), or for an aggregate its groups, with ``aggregate`` the function's name. ``timeline``: of all of
    them, or the store that keeps it up to date, of which a question reads its own keys' rows only;
    ``numbers``: of each name, its key in there (default: its place among the names).

    ``answerable_from`` (microseconds): below it pieces have been forgotten. A question about an instant of
    which nothing is kept is refused with a QuestionError that says so; ``retention`` is what was asked for.
    ``before``: what a changelog that ``expression`` reads is without any event (see ``Node``).
    """

    def __init__(
        self,
        timeline: Timeline | TimelineStore,
        names: Sequence[Group] | KeyTable,
        kind: KindName,
        expression: Expression,
        *,
        unit: str = "us",
        watermark: int | None = None,
        aggregate: str = "",
        numbers: Sequence[int] | Int64 | None = None,
        answerable_from: int | None = None,
        retention: int | None = None,
        before: str = "",
    ) -> None:
        check_unit(unit)
        self._timeline = timeline
        self._numbers = numbers
        self.names: Sequence[Group] = names.names if isinstance(names, KeyTable) else names
        self.kind = kind
        self.expression = expression
        self.unit = unit
        self.watermark = watermark
        self.answerable_from = answerable_from
        self.retention = retention
        self._before = before
        self._function = aggregate
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
        self._check_kept(key, pieces, self._first_looked_at(low))
        return self._change(key, pieces, low, high)

    def change_every(self, key: Group, start: object, end: object, every: object) -> list[Change]:
        """The change in each interval of length ``every``, aligned to the epoch, cut to ``[start, end)``."""
        pieces, (low, high) = self._pieces(key), self._range(start, end)
        self._check_kept(key, pieces, self._first_looked_at(low))
        return [self._change(key, pieces, a, b) for a, b in intervals(low, high, duration(every))]

    def _first_looked_at(self, start: int) -> int:
        """The first instant that the change from ``start`` on depends on."""
        return start - 1 if self.kind == "numeric" else start

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
            f"this {what} from {kept!r}; {why}",
            code=Code.NOT_KEPT,
        )

    def _change(self, key: Group, pieces: Pieces, low: int, high: int) -> Change:
        numeric = self.kind == "numeric"
        nothing = without_events(self.expression, self._function, self._before) if numeric else None
        fields = change(pieces, self.kind, low, high, nothing)
        return Change(key=key, **self._labels(low, high), **fields, **self._final(high - 1))

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
        raise UnknownNameError(self._unknown(key), code=Code.UNKNOWN_KEY)

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
