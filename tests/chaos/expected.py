"""The answers that follow from the accepted events, by ``tests/oracle``, in the form of workers' replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from tests.oracle import oracle
from tests.oracle.numbers import Value, mean, total
from tests.oracle.oracle import Piece, Pieces, piece_at, value_of

SECOND = 1_000_000


def plain(value: Value) -> Any:
    """A value as replies write it: an exact number is an int where it is whole and has 64 bits, else the
    nearest float; None where there is none that large.
    """
    if not isinstance(value, Fraction):
        return value
    if value.denominator == 1 and -(2**63) <= value.numerator < 2**63:
        return value.numerator
    try:
        return float(value)
    except OverflowError:
        return None


def value_at(pieces: Pieces, kind: str, key: Any, at: int, watermark: int | None) -> dict[str, Any]:
    """The reply to ``value_at`` in microseconds."""
    holding = piece_at(pieces, at)
    later = [piece.start for piece in pieces if piece.start > at]
    answer = {
        "key": key,
        "at": at,
        "value": None if holding is None else plain(holding.at(at)),
        "since": None if holding is None else holding.start,
        "until": later[0] if later else None,
        "final": _final(at, watermark),
    }
    if kind == "numeric":
        answer["slope"] = _slope(holding)
    return answer


def spans(pieces: Pieces, kind: str, key: Any, start: int, end: int, watermark: int | None) -> dict[str, Any]:
    """The reply to ``spans`` over ``[start, end)``."""
    found = []
    for piece, low, high in _cut(pieces, start, end):
        span = {"start": low, "end": high, "value": plain(piece.at(low))}
        if kind == "numeric":
            span["slope"] = _slope(piece)
        found.append(span)
    return _with_final(
        {"key": key, "start": start, "end": end, "kind": kind, "spans": found}, end - 1, watermark
    )


def change(
    pieces: Pieces, kind: str, key: Any, start: int, end: int, watermark: int | None, nothing: Value
) -> dict[str, Any]:
    """The reply to ``change`` over ``[start, end)``, of a Numeric or Boolean timeline; ``nothing``: what a
    Numeric gives with no events."""
    answer: dict[str, Any] = {"key": key, "start": start, "end": end, "kind": kind}
    if kind == "boolean":
        true = sum(high - low for piece, low, high in _cut(pieces, start, end) if piece.value is True)
        answer["change"] = plain(Fraction(true, SECOND))
    else:
        answer["change"] = plain(oracle.change(pieces, nothing, start, end))
    return _with_final(answer, end - 1, watermark)


def aggregated(
    functions: Sequence[str],
    members: Mapping[Any, Pieces],
    values: Mapping[Any, Pieces],
    at: int,
) -> dict[tuple[type, Value], dict[str, Value]]:
    """Per group (with its type: True is not 1) count, sum or average at ``at``, over the keys that are in
    their domain and in the group then. Groups without such keys are left out.
    """
    inside: dict[tuple[type, Value], list[Value]] = {}
    for key, pieces in members.items():
        if pieces[0].start <= at:
            group = value_of(pieces, at)
            inside.setdefault((type(group), group), []).append(value_of(values[key], at))
    return {
        group: {function: _over(function, values) for function in functions}
        for group, values in inside.items()
    }


def _over(function: str, values: list[Value]) -> Value:
    if function == "count":
        return len(values)
    known: list[Value] = [int(v) if isinstance(v, bool) else v for v in values if v is not None]
    return total(known) if function == "sum" else mean(known)


def _cut(pieces: Pieces, start: int, end: int) -> list[tuple[Piece, int, int]]:
    ends = [*(p.start for p in pieces[1:]), max(end, pieces[-1].start if pieces else end)]
    cuts = [(p, max(start, p.start), min(end, e)) for p, e in zip(pieces, ends, strict=True)]
    return [(piece, low, high) for piece, low, high in cuts if low < high]


def _slope(piece: Piece | None) -> Any:
    return None if piece is None or piece.value is None else plain(piece.slope)


def _final(instant: int, watermark: int | None) -> bool:
    return watermark is not None and instant < watermark


def _with_final(answer: dict[str, Any], last: int, watermark: int | None) -> dict[str, Any]:
    # Without a watermark the field is left out.
    return answer if watermark is None else {**answer, "final": _final(last, watermark)}
