"""The rules for numbers, shared by both oracles.

*Plain* numbers are Python's ``int`` and ``float``; *exact* ones, made from durations, are ``Fraction``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

Value: TypeAlias = bool | int | float | str | Fraction | None

SECOND = 1_000_000
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def is_number(value: Value) -> bool:
    return isinstance(value, int | float | Fraction) and not isinstance(value, bool)


def same(a: Value, b: Value) -> bool:
    """Whether ``b`` after ``a`` is no change: 1 and 1.0 are one value, True and 1 are two."""
    if is_number(a) and is_number(b):
        return a == b
    return type(a) is type(b) and a == b


def exact(value: Value) -> Fraction:
    """The number as a rational; a float counts as the decimal it is written as."""
    if isinstance(value, float):
        return Fraction(repr(value))
    assert is_number(value), value
    assert isinstance(value, int | Fraction)
    return Fraction(value)


def compare(op: str, a: Value, b: Value) -> bool:
    """``a op b``; False when a side is unknown, the types differ, or two bools are put in order."""
    if a is None or b is None:
        return False
    if is_number(a) and is_number(b):
        if isinstance(a, Fraction) or isinstance(b, Fraction):
            a, b = exact(a), exact(b)
        return bool(_OPERATORS[op](a, b))
    if type(a) is not type(b):
        return False
    if isinstance(a, bool) and op not in ("==", "!="):
        return False
    return bool(_OPERATORS[op](a, b))


def plain(value: int | float) -> int | float | None:
    """An int that leaves 64 bits becomes a float, what is not finite is unknown, and -0.0 is 0.0."""
    if isinstance(value, int):
        if INT64_MIN <= value <= INT64_MAX:
            return value
        try:
            value = float(value)
        except OverflowError:
            return None
    return value + 0.0 if math.isfinite(value) else None


def difference(a: Value, b: Value) -> int | float | Fraction:
    """``a - b`` of two known numbers, exact where both are whole or exact."""
    assert is_number(a), a
    assert is_number(b), b
    return a - b  # type: ignore[operator]


def arithmetic(op: str, a: Value, b: Value) -> int | float | Fraction | None:
    """``a op b``, exact when a side is; unknown when a side is unknown or the divisor is 0."""
    if a is None or b is None:
        return None
    if op == "/" and b == 0:
        return None
    if isinstance(a, Fraction) or isinstance(b, Fraction):
        rational: Fraction = _OPERATORS[op](exact(a), exact(b))
        return rational
    assert is_number(a), a
    assert is_number(b), b
    try:
        return plain(_OPERATORS[op](a, b))
    except OverflowError:
        return None


def total(values: list[Value]) -> int | float | Fraction | None:
    """The sum of known values: computed exactly, rounded once when a float takes part."""
    if not values:
        return None
    if any(isinstance(v, Fraction) for v in values):
        return sum((exact(v) for v in values), Fraction(0))
    whole = sum((_binary(v) for v in values), Fraction(0))
    if any(isinstance(v, float) for v in values):
        return _round(whole)
    return plain(int(whole))


def mean(values: list[Value]) -> float | Fraction | None:
    """The average of known values: exact for exact ones, otherwise the float nearest to it."""
    if not values:
        return None
    if any(isinstance(v, Fraction) for v in values):
        return sum((exact(v) for v in values), Fraction(0)) / len(values)
    return _round(sum((_binary(v) for v in values), Fraction(0)) / len(values))


def _binary(value: Value) -> Fraction:
    assert isinstance(value, int | float)
    return Fraction(value)


def _round(value: Fraction) -> float | None:
    try:
        return float(value) + 0.0
    except OverflowError:
        return None
