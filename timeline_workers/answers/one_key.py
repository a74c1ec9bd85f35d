"""Answers from one key's pieces: the value at an instant, spans and the change over a range.

Pure functions from the pieces to the models of ``answers``; instants are microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import INT64_MAX, INT64_MIN, Flags, Int64, Linear, Tagged
from timeline_workers.events.times import from_microseconds
from timeline_workers.language.canonical import canonical
from timeline_workers.language.tree import Aggregate, Expression

from .answer_models import KindName, SecondsByValue, Span, Value

MILLION = 1_000_000

Exact = Fraction | int | float | None
"""The value of a Numeric as it is computed with; None is unknown."""


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

    def before(self, instant: int, nothing: Exact) -> Exact:
        """The limit from the left at ``instant``; ``nothing`` at the origin and before."""
        i = self.at(instant - 1)
        return nothing if i < 0 else self.exact(i, instant)

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


def change(pieces: Pieces, kind: KindName, start: int, end: int, nothing: Exact) -> dict[str, Any]:
    """The field ``change`` (Numeric, Boolean) or ``seconds_by_value`` (State) over ``[start, end)``.

    Numeric: ``x(end⁻) - x(start⁻)``, where ``x(t⁻)`` is the limit from the left, so that what happens at
    ``start`` counts and what happens at ``end`` does not. At the origin⁻ and before, x is ``nothing``, what
    the expression gives with no events. Where ``x(start⁻)`` is unknown, from the first instant in the range
    at which x is known; None if there is none, or if x is unknown at ``end⁻``. Boolean: seconds True. State:
    seconds per value in the order in which the values appear; unknown time, also that before the origin, is
    under None.
    """
    if kind == "numeric":
        return {"change": _numeric_change(pieces, start, end, nothing)}
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


def _numeric_change(pieces: Pieces, start: int, end: int, nothing: Exact) -> Value:
    last, first = pieces.before(end, nothing), pieces.before(start, nothing)
    if first is None:
        known = (pieces.exact(i, low) for i, low, _ in pieces.cut(start, end) if pieces.known(i))
        first = next(known, None)
    return None if last is None or first is None else _value(last - first)


@lru_cache(maxsize=1024)
def without_events(expression: Expression, function: str = "", before: str = "") -> Exact:
    """What a Numeric ``expression`` (of an aggregate: ``function``) gives with no events, which is what
    it is before the origin: counts and durations are 0 there, and what rests on a state is unknown. Of a
    changelog its messages say what that is: ``before`` (see ``Node``).
    """
    if isinstance(expression, Aggregate):
        return 0 if function == "count" else None
    # Canonical: constants in it, as 3 * 10, are folded, and are no nodes.
    nothing = Evaluation.of_nothing(canonical(expression), before)
    value: Exact = Pieces.of(nothing.timeline(), 0).exact(0, 0)
    return value


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
