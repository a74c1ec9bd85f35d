"""A brute-force reading of the semantics page: one key's timeline as a plain list of pieces.

Right by inspection rather than fast: lists, ``Fraction`` and nested loops. Every operator is the sentence of
the semantics page that defines it. ``tests/oracle/instants.py`` reads the same page once more, instant by
instant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from tests.oracle.events import Event, Key, distinct, is_predicate, of_key, satisfies
from tests.oracle.numbers import SECOND, Value, arithmetic, compare, difference, exact, same
from tests.oracle.readings import reading
from timeline_workers.language import tree

ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class Piece:
    """``value`` from the microsecond ``start`` on, growing by ``slope`` a second, until the next piece.

    Exact values, and no others, are Fractions; None is unknown.
    """

    start: int
    value: Value
    slope: Fraction = ZERO

    def at(self, t: int) -> Value:
        if isinstance(self.value, Fraction):
            return self.value + self.slope * (t - self.start) / SECOND
        return self.value

    def continues(self, before: Piece) -> bool:
        """Whether this piece says only what ``before`` said already."""
        return self.slope == before.slope and same(before.at(self.start), self.value)


Pieces = list[Piece]


def is_exact(node: tree.Node) -> bool:
    """Whether the node's numbers come from durations."""
    if isinstance(node, tree.DurationWhere | tree.DurationInCurState):
        return True
    return isinstance(node, tree.Arithmetic | tree.Call) and any(map(is_exact, node.children()))


def timeline(expression: tree.Expression, events: Iterable[Event], key: Key) -> Pieces:
    """The canonical pieces of one key's timeline, from its origin on; none for a key without events."""
    own = of_key(events, key)
    return _evaluate(expression, own) if own else []


def timelines(expression: tree.Expression, events: Iterable[Event]) -> dict[Key, Pieces]:
    """Every key's timeline, sorting the events once."""
    own: dict[Key, list[Event]] = {}
    for event in distinct(events):
        own.setdefault(event.key, []).append(event)
    return {key: _evaluate(expression, some) for key, some in own.items()}


def value_at(expression: tree.Expression, events: Iterable[Event], key: Key, t: int) -> Value:
    """The value at the microsecond ``t``; None where unknown, before the origin too."""
    return value_of(timeline(expression, events, key), t)


def value_of(pieces: Pieces, t: int) -> Value:
    """The value of a timeline at ``t``; None before it starts."""
    piece = piece_at(pieces, t)
    return None if piece is None else piece.at(t)


def before(pieces: Pieces, t: int, nothing: Value) -> Value:
    """The limit from the left at ``t``; ``nothing``, the value with no events, at the origin and before."""
    holding = [piece for piece in pieces if piece.start < t]
    return holding[-1].at(t) if holding else nothing


def change(pieces: Pieces, nothing: Value, start: int, end: int) -> Value:
    """``x(end⁻) - x(start⁻)`` of a Numeric; where that is unknown, from the first known instant of
    ``[start, end)``; None where there is none, and where x is unknown at ``end⁻``."""
    last, first = before(pieces, end, nothing), before(pieces, start, nothing)
    if first is None:
        inside = [max(start, p.start) for p in pieces if p.start < end]
        known = [v for t in inside if start <= t < end and (v := value_of(pieces, t)) is not None]
        first = known[0] if known else None
    if last is None or first is None:
        return None
    return difference(last, first)


def without_events(node: tree.Node, function: str = "") -> Value:
    """What an expression gives with no events: counts and durations 0, states unknown."""
    match node:
        case tree.Literal():
            return node.value
        case tree.LatestEventToState():
            return None
        case tree.HasExisted() | tree.HasExistedWithin():
            return without_events(node.of) is True if not is_predicate(node.of) else False
        case tree.EventCount() | tree.EventCountWithin():
            return 0
        case tree.DurationWhere():
            return ZERO
        case tree.DurationInCurState():
            return None if without_events(node.of) is None else ZERO
        case tree.Compare():
            return compare(node.operator, without_events(node.left), without_events(node.right))
        case tree.And():
            return without_events(node.left) is True and without_events(node.right) is True
        case tree.Or():
            return without_events(node.left) is True or without_events(node.right) is True
        case tree.Not():
            return without_events(node.of) is not True
        case tree.Arithmetic():
            sides = [without_events(node.left), without_events(node.right)]
            if is_exact(node):
                sides = [None if side is None else exact(side) for side in sides]
            return arithmetic(node.operator, *sides)
        case tree.Call():
            return reading(node).nothing(node, [without_events(one) for one in node.operands])
        case tree.Aggregate():
            return 0 if function == "count" else None
    raise TypeError(f"{type(node).__name__} is not a timeline")


def piece_at(pieces: Pieces, t: int) -> Piece | None:
    holding = [piece for piece in pieces if piece.start <= t]
    return holding[-1] if holding else None


def canonical(pieces: Iterable[Piece]) -> Pieces:
    """The same function in the fewest pieces: a repeated value is no change, and the earlier is kept."""
    kept: Pieces = []
    for piece in pieces:
        if not kept or not piece.continues(kept[-1]):
            kept.append(piece)
    return kept


def _evaluate(node: tree.Node, events: list[Event]) -> Pieces:
    """The timeline of ``node`` over the events of one key, in order, at least one."""
    origin = events[0].time
    match node:
        case tree.Literal():
            return [Piece(origin, node.value)]
        case tree.LatestEventToState():
            return _latest(node.column, events)
        case tree.HasExisted() if is_predicate(node.of):
            return _spans(origin, [(e.time, math.inf) for e in events if satisfies(e, node.of)])
        case tree.HasExisted():
            return _spans(origin, [(a, math.inf) for a, _ in _true_spans(_evaluate(node.of, events))])
        case tree.HasExistedWithin() if is_predicate(node.of):
            return _spans(origin, [(e.time, e.time + node.within) for e in events if satisfies(e, node.of)])
        case tree.HasExistedWithin():
            true = _true_spans(_evaluate(node.of, events))
            return _spans(origin, [(a, b + node.within) for a, b in true])
        case tree.EventCount():
            matches = [(e.time, math.inf) for e in events if satisfies(e, node.of)]
            return _counts(origin, matches)
        case tree.EventCountWithin():
            matches = [(e.time, e.time + node.within) for e in events if satisfies(e, node.of)]
            return _counts(origin, matches)
        case tree.Compare():
            return _compare(node.operator, _evaluate(node.left, events), _evaluate(node.right, events))
        case tree.And():
            return _pointwise(
                lambda a, b: a is True and b is True,
                _evaluate(node.left, events),
                _evaluate(node.right, events),
            )
        case tree.Or():
            return _pointwise(
                lambda a, b: a is True or b is True,
                _evaluate(node.left, events),
                _evaluate(node.right, events),
            )
        case tree.Not():
            return canonical(Piece(p.start, p.value is not True) for p in _evaluate(node.of, events))
        case tree.Arithmetic():
            return _arithmetic(
                node.operator,
                is_exact(node),
                _evaluate(node.left, events),
                _evaluate(node.right, events),
            )
        case tree.DurationWhere():
            return _duration_where(_evaluate(node.of, events))
        case tree.DurationInCurState():
            return _duration_in_cur_state(_evaluate(node.of, events))
        case tree.Call():
            return reading(node).pieces(node, [_evaluate(one, events) for one in node.operands])
    raise TypeError(f"{type(node).__name__} is not a timeline of one key")


def _latest(column: str, events: list[Event]) -> Pieces:
    # Later positions at one instant overwrite earlier ones before anything is said of that instant.
    at: dict[int, Value] = {events[0].time: None}
    for event in events:
        value = event.get(column)
        if value is not None:
            at[event.time] = value
    return canonical(Piece(t, value) for t, value in sorted(at.items(), key=lambda item: item[0]))


def _true_spans(pieces: Pieces) -> list[tuple[int, float]]:
    ends = [p.start for p in pieces[1:]] + [math.inf]
    return [(p.start, end) for p, end in zip(pieces, ends, strict=True) if p.value is True]


def _spans(origin: int, spans: list[tuple[int, float]]) -> Pieces:
    """True inside any of the half-open spans."""
    return canonical(Piece(p.start, p.value != 0) for p in _counts(origin, spans))


def _counts(origin: int, spans: list[tuple[int, float]]) -> Pieces:
    """How many of the half-open spans hold each instant."""
    instants = {origin} | {a for a, _ in spans} | {int(b) for _, b in spans if b != math.inf}
    return canonical(Piece(t, sum(a <= t < b for a, b in spans)) for t in sorted(instants))


def _together(x: Pieces, y: Pieces) -> list[tuple[int, float, Piece, Piece]]:
    """The stretches ``[start, end)`` on which neither has a new piece, with the pieces of both."""
    starts = sorted({p.start for p in x} | {p.start for p in y})
    stretches = []
    for i, start in enumerate(starts):
        a, b = piece_at(x, start), piece_at(y, start)
        assert a is not None
        assert b is not None
        end = starts[i + 1] if i + 1 < len(starts) else math.inf
        stretches.append((start, end, a, b))
    return stretches


def _pointwise(function: Callable[[Value, Value], Value], x: Pieces, y: Pieces) -> Pieces:
    return canonical(Piece(start, function(a.value, b.value)) for start, _, a, b in _together(x, y))


def crossings(a: Piece, b: Piece, start: int, end: float) -> list[int]:
    """The instants of ``[start, end)`` at which the order of two pieces may change, ``start`` among them."""
    instants = {start}
    if (a.slope != 0 or b.slope != 0) and a.value is not None and b.value is not None:
        difference = exact(a.at(start)) - exact(b.at(start))
        if a.slope != b.slope:
            crossing = start + difference * SECOND / (b.slope - a.slope)
            # Before, at and after the crossing: the first whole microsecond of each.
            instants |= {math.ceil(crossing), math.floor(crossing) + 1}
    return sorted(t for t in instants if start <= t < end)


def _compare(op: str, x: Pieces, y: Pieces) -> Pieces:
    return canonical(
        Piece(t, compare(op, a.at(t), b.at(t)))
        for start, end, a, b in _together(x, y)
        for t in crossings(a, b, start, end)
    )


def _arithmetic(op: str, is_exact: bool, x: Pieces, y: Pieces) -> Pieces:
    pieces = []
    for start, _, a, b in _together(x, y):
        left, right = a.at(start), b.at(start)
        if is_exact:
            # Also where the exact side is unknown, so that nothing depends on which side that is.
            left, right = (None if v is None else exact(v) for v in (left, right))
        value = arithmetic(op, left, right)
        slope = ZERO
        if isinstance(value, Fraction):
            slope = _slope(op, exact(left), a.slope, exact(right), b.slope)
        pieces.append(Piece(start, value, slope))
    return canonical(pieces)


def _slope(op: str, x: Fraction, x_slope: Fraction, y: Fraction, y_slope: Fraction) -> Fraction:
    if op == "+":
        return x_slope + y_slope
    if op == "-":
        return x_slope - y_slope
    if op == "*":
        assert x_slope == 0 or y_slope == 0, "a product of two sloping sides is not piecewise linear"
        return x_slope * y + x * y_slope
    assert y_slope == 0, "a sloping divisor is not piecewise linear"
    return x_slope / y


def _duration_where(x: Pieces) -> Pieces:
    pieces = []
    elapsed = 0
    for piece, following in zip(x, [*x[1:], None], strict=True):
        true = piece.value is True
        pieces.append(Piece(piece.start, Fraction(elapsed, SECOND), ONE if true else ZERO))
        if true and following is not None:
            elapsed += following.start - piece.start
    return canonical(pieces)


def _duration_in_cur_state(x: Pieces) -> Pieces:
    """Time since the last change; for x without slope every canonical piece starts with one."""
    assert all(piece.slope == 0 for piece in x), "a value that never rests has no current state"
    return [
        Piece(p.start, None) if p.value is None else Piece(p.start, Fraction(0), ONE) for p in canonical(x)
    ]
