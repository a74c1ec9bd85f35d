"""A brute-force reading of scalar expressions: one event at a time, in plain Python."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from timeline_workers.language import tree as t

Event = dict[str, Any]
_LIMIT = 2**63


def number(value: Any) -> Any:
    """What arithmetic gives: an int beyond 64 bits is a float, and nothing that is not finite is a number."""
    if isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
        value = float(value)
    return (
        value + 0.0
        if isinstance(value, float) and math.isfinite(value)
        else value
        if isinstance(value, int)
        else None
    )


def half_even(value: Any, digits: int = 0) -> Any:
    """The decimal of so many digits nearest to the exact value."""
    if isinstance(value, int):
        return value
    scaled = Fraction(value) * 10**digits
    below = scaled.numerator // scaled.denominator
    rest = scaled - below
    whole = below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1))
    if digits:
        return float(Fraction(whole, 10**digits)) + 0.0
    return whole if -_LIMIT <= whole < _LIMIT else float(whole)


def whole(value: Any, function: Any) -> Any:
    found = function(value)
    return found if -_LIMIT <= found < _LIMIT else float(found)


def value(node: t.Expression, event: Event, time: int) -> Any:
    """The value of an expression at one event, None where it is missing."""
    match node:
        case t.Column():
            return event.get(node.name)
        case t.Literal():
            return node.value
        case t.And():
            return holds(node.left, event, time) and holds(node.right, event, time)
        case t.Or():
            return holds(node.left, event, time) or holds(node.right, event, time)
        case t.Not():
            return not holds(node.of, event, time)
        case t.Compare():
            return compared(node.operator, value(node.left, event, time), value(node.right, event, time))
        case t.Arithmetic():
            a, b = value(node.left, event, time), value(node.right, event, time)
            if a is None or b is None or (node.operator == "/" and b == 0):
                return None
            try:
                return number(
                    {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[
                        node.operator
                    ]()
                )
            except OverflowError:
                return None
    assert isinstance(node, t.Call)
    if node.function == "if":
        chosen = node.operands[1] if holds(node.operands[0], event, time) else node.operands[2]
        return value(chosen, event, time)
    values = [value(one, event, time) for one in node.operands]
    if node.function == "coalesce":
        return next((one for one in values if one is not None), None)
    if node.function == "in":
        return any(compared("==", values[0], one) for one in values[1:])
    if any(one is None for one in values):
        return None
    return (
        FUNCTIONS[node.function](*values)
        if node.function not in CLOCKS
        else clock(node.function, time, *values)
    )


def compared(operator: str, a: Any, b: Any) -> bool:
    if a is None or b is None:
        return False
    signs = {"==": a == b, "!=": a != b}
    return (
        signs[operator]
        if operator in signs
        else {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]
    )


def holds(node: t.Expression, event: Event, time: int) -> bool:
    return value(node, event, time) is True


CLOCKS = ("hour_of_day", "day_of_week")


def clock(function: str, time: int, zone: str = "UTC") -> int:
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).astimezone(ZoneInfo(zone))
    return moment.hour if function == "hour_of_day" else moment.isoweekday()


def part(text: str, mark: str, n: int) -> str | None:
    parts = text.split(mark)
    if n < 0:
        parts, n = parts[::-1], -n
    return parts[n - 1] if n <= len(parts) else None


def text_of(one: Any) -> str:
    return str(one).lower() if isinstance(one, bool) else str(one)


FUNCTIONS: dict[str, Any] = {
    "abs": lambda x: number(abs(x)),
    "round": half_even,
    "floor": lambda x: whole(x, math.floor),
    "ceil": lambda x: whole(x, math.ceil),
    "min": min,
    "max": max,
    "clamp": lambda x, lo, hi: min(max(x, lo), hi),
    "upper": lambda s: s.upper(),
    "lower": lambda s: s.lower(),
    "trim": lambda s: s.strip(),
    "len": len,
    "contains": lambda s, p: s.find(p) >= 0,
    "starts_with": lambda s, p: s[: len(p)] == p,
    "ends_with": lambda s, p: p == "" or s[-len(p) :] == p,
    "split": part,
    "concat": lambda *all_: "".join(map(text_of, all_)),
}
