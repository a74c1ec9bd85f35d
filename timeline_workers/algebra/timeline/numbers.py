"""Comparison and arithmetic on Tagged columns.

Numbers behave as Python's ``int`` and ``float``: int and float compare exactly, ``/`` is true division, and
a sum, difference or product of ints that leaves 64 bits becomes a float. What has no finite result is
unknown. Whole columns are computed at once; only rows that NumPy would compute inexactly go through Python
numbers.
"""

from __future__ import annotations

import math
import operator as python
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.operations import in_table, is_constant
from timeline_workers.columns.values import (
    BOOL,
    FLOAT,
    INT,
    INT64_MAX,
    INT64_MIN,
    STRING,
    UNKNOWN,
    Bools,
    Int64,
    Scalar,
    StringTable,
    Tagged,
    encode_scalar,
)
from timeline_workers.language.tree import ArithmeticOperator, CompareOperator

EXACT_FLOAT = 2**53
Signs = NDArray[np.int8]

_HOLDS: dict[str, tuple[bool, bool, bool]] = {
    "<": (True, False, False),
    "<=": (True, True, False),
    "==": (False, True, False),
    "!=": (True, False, True),
    ">=": (False, True, True),
    ">": (False, False, True),
}
_COMPUTE: dict[str, Callable[[int | float, int | float], int | float]] = {
    "+": python.add,
    "-": python.sub,
    "*": python.mul,
    "/": python.truediv,
}


def holds(operator: CompareOperator, signs: NDArray[np.integer]) -> Bools:
    """Where ``left operator right`` holds, given the sign of ``left - right``."""
    result: Bools = np.array(_HOLDS[operator])[signs.astype(np.intp) + 1]
    return result


def constant(value: Scalar, count: int, strings: StringTable) -> Tagged:
    """``count`` times the same value, without storing it ``count`` times."""
    tag, bits = encode_scalar(value, strings)
    return Tagged(
        np.broadcast_to(np.uint8(tag), (count,)), np.broadcast_to(np.int64(bits), (count,)), strings
    )


def floats(values: Tagged) -> NDArray[np.float64]:
    """The values of a column of numbers as floats (correctly rounded); rows that are no number are
    arbitrary."""
    bits = np.ascontiguousarray(values.bits)
    return np.where(values.tags == FLOAT, bits.view(np.float64), bits.astype(np.float64))


def is_number(values: Tagged) -> Bools:
    """Where the value is an int or a float."""
    numbers: Bools = (values.tags == INT) | (values.tags == FLOAT)
    return numbers


def compare(operator: CompareOperator, a: Tagged, b: Tagged) -> Bools:
    """Pointwise comparison; False where a side is unknown or the types do not compare."""
    b = in_table(b, a.strings)
    if operator in ("==", "!=") and len(b) and is_constant(b) and b.tags[0] == STRING:
        return _is_text(a, b.bits[0], operator == "==")
    result = np.zeros(len(a), np.bool_)
    strings = (a.tags == STRING) & (b.tags == STRING)
    if strings.any():
        result |= strings & _compare_strings(operator, a, b)
    if operator in ("==", "!="):
        bools = (a.tags == BOOL) & (b.tags == BOOL)
        if bools.any():
            result |= bools & ((a.bits == b.bits) == (operator == "=="))
    numbers = is_number(a) & is_number(b)
    if numbers.any():
        result |= numbers & holds(operator, _number_signs(a, b))
    return result


def _is_text(values: Tagged, code: np.int64, wanted: bool) -> Bools:
    """Where a value is the string of that code or, unless ``wanted``, another string."""
    result: Bools = values.bits == code if wanted else values.bits != code
    result &= values.tags == STRING
    return result


def _compare_strings(operator: CompareOperator, a: Tagged, b: Tagged) -> Bools:
    if operator == "==":
        result: Bools = a.bits == b.bits
        return result
    if operator == "!=":
        result = a.bits != b.bits
        return result
    names = a.strings.names
    used = np.union1d(a.bits[a.tags == STRING], b.bits[b.tags == STRING])
    rank = np.zeros(len(names), np.int64)
    rank[np.array(sorted(used.tolist(), key=names.__getitem__), np.int64)] = np.arange(len(used))
    left = np.where(a.tags == STRING, a.bits, 0)
    right = np.where(b.tags == STRING, b.bits, 0)
    return holds(operator, np.sign(rank[left] - rank[right]))


def _number_signs(a: Tagged, b: Tagged) -> Signs:
    both_int = (a.tags == INT) & (b.tags == INT)
    signs = (a.bits > b.bits).astype(np.int8) - (a.bits < b.bits).astype(np.int8)
    if both_int.all():
        return signs
    left, right = floats(a), floats(b)
    with np.errstate(invalid="ignore"):
        by_float = (left > right).astype(np.int8) - (left < right).astype(np.int8)
    signs = np.where(both_int, signs, by_float)
    # An int beyond 2**53 beside a float: rounding the int could change the answer.
    risky = (a.tags != b.tags) & is_number(a) & is_number(b) & (np.abs(left) >= EXACT_FLOAT)
    for row in np.flatnonzero(risky):
        x, y = a.item(int(row)), b.item(int(row))
        assert isinstance(x, int | float)
        assert isinstance(y, int | float)
        signs[row] = (x > y) - (x < y)
    return signs


def arithmetic(operator: ArithmeticOperator, a: Tagged, b: Tagged) -> Tagged:
    """Pointwise arithmetic; unknown where a side is no number, a divisor is 0 or the result is not finite."""
    numbers = is_number(a) & is_number(b)
    ints = numbers & (a.tags == INT) & (b.tags == INT)
    left, right = floats(a), floats(b)
    with np.errstate(all="ignore"):
        by_float = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[operator](left, right)
    by_float = np.where(numbers, by_float, 0.0) + 0.0
    finite = numbers & np.isfinite(by_float)
    tags = np.where(finite, np.uint8(FLOAT), np.uint8(UNKNOWN)).astype(np.uint8)
    bits = np.where(finite, by_float, 0.0).view(np.int64)
    if ints.any():
        tags, bits = _int_rows(operator, a, b, ints, by_float, tags, bits)
    return Tagged(tags, bits, a.strings)


def _int_rows(
    operator: ArithmeticOperator,
    a: Tagged,
    b: Tagged,
    ints: Bools,
    by_float: NDArray[np.float64],
    tags: NDArray[np.uint8],
    bits: Int64,
) -> tuple[NDArray[np.uint8], Int64]:
    if operator == "/":
        exact = (np.abs(floats(a)) < EXACT_FLOAT) & (np.abs(floats(b)) < EXACT_FLOAT)
        risky = ints & ~exact
    else:
        with np.errstate(over="ignore"):
            whole = {"+": np.add, "-": np.subtract, "*": np.multiply}[operator](a.bits, b.bits)
        risky = ints & ~(np.abs(by_float) < 2.0**62)
        tags = np.where(ints, np.uint8(INT), tags).astype(np.uint8)
        bits = np.where(ints, whole, bits)
    for row in np.flatnonzero(risky):
        tags[row], bits[row] = _one(operator, int(a.bits[row]), int(b.bits[row]))
    return tags, bits


def _one(operator: ArithmeticOperator, x: int, y: int) -> tuple[int, int]:
    try:
        result = _COMPUTE[operator](x, y)
    except ZeroDivisionError:
        return UNKNOWN, 0
    if isinstance(result, int) and not INT64_MIN <= result <= INT64_MAX:
        result = float(result)
    if isinstance(result, float) and not math.isfinite(result):
        return UNKNOWN, 0
    return encode_scalar(result, StringTable())
