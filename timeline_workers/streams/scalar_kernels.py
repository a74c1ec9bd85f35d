"""Scalar expressions over whole batches: ``evaluated`` and ``satisfied``.

What is missing makes the result missing, but in ``if`` and ``coalesce``; a comparison with it is False, and
a condition that is missing does not hold. Each value depends on its own event only, never on the batch around
it: what NumPy would round otherwise than Python does goes through Python's numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from timeline_workers.algebra.timeline import numbers
from timeline_workers.columns.event_batch import EventBatch
from timeline_workers.columns.operations import in_table, is_constant, unknown_tagged
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
)
from timeline_workers.language import tree as t
from timeline_workers.language.scalar_check import linear_pattern
from timeline_workers.language.scalar_table import AMONG

LONGEST = 64 << 10
"""Bytes of UTF-8; a longer text comes out as missing, as no event may hold one."""
EARTH_METRES = 6_371_008.8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR, _DAY = 3_600_000_000, 86_400_000_000
_THURSDAY = 3  # what 1970-01-01 was, from Monday = 0


def satisfied(condition: t.Expression, batch: EventBatch) -> Bools:
    """For each event of ``batch``, whether it satisfies ``condition``."""
    match condition:
        case t.And():
            return satisfied(condition.left, batch) & satisfied(condition.right, batch)
        case t.Or():
            return satisfied(condition.left, batch) | satisfied(condition.right, batch)
        case t.Not():
            return ~satisfied(condition.of, batch)
        case t.Compare():
            left, right = evaluated(condition.left, batch), evaluated(condition.right, batch)
            return numbers.compare(condition.operator, left, right)
        case t.Call(function=function) if function == AMONG:
            of, *among = (evaluated(one, batch) for one in condition.operands)
            result = np.zeros(len(batch), np.bool_)
            for value in among:
                result |= numbers.compare("==", of, value)
            return result
    value = evaluated(condition, batch)
    holds: Bools = (value.tags == BOOL) & (value.bits == 1)
    return holds


def evaluated(expression: t.Expression, batch: EventBatch) -> Tagged:
    """The value of ``expression`` at each event of ``batch``."""
    match expression:
        case t.Column():
            found = batch.columns.get(expression.name)
            return unknown_tagged(len(batch)) if found is None else found
        case t.Literal():
            return numbers.constant(expression.value, len(batch), StringTable())
        case t.Arithmetic():
            left, right = evaluated(expression.left, batch), evaluated(expression.right, batch)
            return numbers.arithmetic(expression.operator, left, right)
        case t.Call(function=function) if function != AMONG:
            return _called(expression, batch)
    return _flags(satisfied(expression, batch))


def _called(call: t.Call, batch: EventBatch) -> Tagged:
    name = call.function
    if name == "if":
        chosen = satisfied(call.operands[0], batch)
        return _chosen(chosen, evaluated(call.operands[1], batch), evaluated(call.operands[2], batch))
    if name in ("hour_of_day", "day_of_week"):
        zone = call.operands[0] if call.operands else None
        return _of_the_clock(name, batch.time, str(zone.value) if isinstance(zone, t.Literal) else "UTC")
    values = [evaluated(one, batch) for one in call.operands]
    match name:
        case "coalesce":
            result = values[0]
            for other in values[1:]:
                result = _chosen(result.tags != UNKNOWN, result, other)
            return result
        case "min" | "max":
            return _extreme("<" if name == "min" else ">", values)
        case "clamp":
            return _extreme("<", [_extreme(">", values[:2]), values[2]])
        case "abs":
            return _absolute(values[0])
        case "round":
            digits = values[1].item(0) if len(values) > 1 and len(batch) else None
            return _rounded(values[0], digits if isinstance(digits, int) else None)
        case "floor" | "ceil":
            return _whole(values[0], np.floor if name == "floor" else np.ceil)
    return _by_rows(_FUNCTIONS[name], values)


# --- choices ---


def _flags(flags: Bools) -> Tagged:
    return Tagged(np.full(len(flags), BOOL, np.uint8), flags.astype(np.int64), StringTable())


def _chosen(first: Bools, a: Tagged, b: Tagged) -> Tagged:
    strings = StringTable(list(a.strings.names))
    b = in_table(b, strings)
    return Tagged(np.where(first, a.tags, b.tags), np.where(first, a.bits, b.bits), strings)


def _extreme(operator: t.CompareOperator, values: Sequence[Tagged]) -> Tagged:
    """The first of the least or greatest; missing where one of them is."""
    result = values[0]
    known = result.tags != UNKNOWN
    for other in values[1:]:
        known = known & (other.tags != UNKNOWN)
        result = _chosen(numbers.compare(operator, other, result), other, result)
    return _where_known(known, result)


def _where_known(known: Bools, values: Tagged) -> Tagged:
    return Tagged(
        np.where(known, values.tags, np.uint8(UNKNOWN)), np.where(known, values.bits, 0), values.strings
    )


# --- numbers ---


def _absolute(values: Tagged) -> Tagged:
    ints, floats = values.tags == INT, values.tags == FLOAT
    with np.errstate(over="ignore"):
        bits = np.where(ints, np.abs(values.bits), values.bits)
    bits = np.where(floats, values.bits & INT64_MAX, bits)  # without the sign
    least = ints & (values.bits == INT64_MIN)
    tags = np.where(least, np.uint8(FLOAT), values.tags)
    return Tagged(tags, np.where(least, np.float64(2.0**63).view(np.int64), bits), values.strings)


def _whole(values: Tagged, rounding: Callable[..., np.ndarray]) -> Tagged:
    """Floats to whole numbers: ints where these have 64 bits, else the floats themselves, which are whole."""
    floats = values.tags == FLOAT
    if not floats.any():
        return values
    whole = rounding(np.where(floats, numbers.floats(values), 0.0))
    fits = floats & (np.abs(whole) < 2.0**63)
    tags = np.where(fits, np.uint8(INT), values.tags)
    return Tagged(
        tags, np.where(fits, np.where(fits, whole, 0.0).astype(np.int64), values.bits), values.strings
    )


def _rounded(values: Tagged, digits: int | None) -> Tagged:
    if digits is None or digits == 0:
        return _whole(values, np.rint)
    is_float = values.tags == FLOAT
    if not is_float.any():
        return values
    floats = np.where(is_float, numbers.floats(values), 0.0)
    scale = 10.0**digits
    with np.errstate(over="ignore"):
        scaled = floats * scale
        whole = np.rint(scaled)
        # The product is off by half a unit in its last place at most. Where that cannot carry it over the
        # middle, the division, of whole numbers that floats hold, gives the float nearest to the decimal.
        off = np.abs(scaled - whole) + 0.5 * np.spacing(np.abs(scaled)) * (1 + 1e-9)
        sure = (np.abs(whole) < numbers.EXACT_FLOAT) & (off < 0.5)
    result = np.where(sure, whole, 0.0) / scale + 0.0
    for row in np.flatnonzero(is_float & ~sure).tolist():
        result[row] = round(float(floats[row]), digits) + 0.0
    return Tagged(values.tags, np.where(is_float, result.view(np.int64), values.bits), values.strings)


# --- time ---


def _of_the_clock(name: str, times: Int64, zone: str) -> Tagged:
    if zone == "UTC":
        days = times // _DAY
        found = (times - days * _DAY) // _HOUR if name == "hour_of_day" else (days + _THURSDAY) % 7 + 1
        return Tagged(np.full(len(times), INT, np.uint8), found, StringTable())
    return Tagged.of([_local(name, time, _zone(zone)) for time in times.tolist()])


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _local(name: str, time: int, zone: ZoneInfo) -> int | None:
    try:
        moment = (_EPOCH + timedelta(microseconds=time)).astimezone(zone)
    except OverflowError:  # the first or last hours of all time
        return None
    return moment.hour if name == "hour_of_day" else moment.isoweekday()


# --- by rows ---


def _by_rows(function: Callable[..., Scalar | None], values: Sequence[Tagged]) -> Tagged:
    """``function`` of Python values, where none is missing; asked once for each text where all others are
    constants."""
    count = len(values[0])
    if not count:
        return unknown_tagged(0)
    known = np.logical_and.reduce([one.tags != UNKNOWN for one in values])
    first, others = values[0], values[1:]
    if (first.tags[known] == STRING).all() and all(map(is_constant, others)):
        constants = [one.item(0) for one in others]
        codes, places = np.unique(first.bits[known], return_inverse=True)
        each = Tagged.of([_short(function(first.strings.names[code], *constants)) for code in codes.tolist()])
        tags, bits = np.zeros(count, np.uint8), np.zeros(count, np.int64)
        tags[known], bits[known] = each.tags[places], each.bits[places]
        return Tagged(tags, bits, each.strings)
    return Tagged.of(
        [
            _short(function(*(one.item(row) for one in values))) if there else None
            for row, there in enumerate(known.tolist())
        ]
    )


def _short(value: Scalar | None) -> Scalar | None:
    if isinstance(value, str) and len(value) * 4 > LONGEST and len(value.encode()) > LONGEST:
        return None
    return value


def _split(text: str, mark: str, number: int) -> str | None:
    parts = text.split(mark)
    place = number - 1 if number > 0 else number
    return parts[place] if -len(parts) <= place < len(parts) else None


def written(value: Scalar) -> str:
    """``value`` as JSON writes it, a text without its quotes; a whole float as a float."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def stable_hash(*values: Scalar | None) -> int:
    """A hash of 63 bits, the same in every process; numbers that are equal have the same."""
    parts = []
    for value in values:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        kind = (
            "n"
            if value is None
            else "b"
            if isinstance(value, bool)
            else "s"
            if isinstance(value, str)
            else "x"
        )
        text = "" if value is None else written(value)
        parts.append(f"{kind}{len(text)}:{text}")
    digest = hashlib.blake2b("".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _distance(lat1: float, lon1: float, lat2: float, lon2: float) -> float | None:
    if max(abs(lat1), abs(lat2)) > 90 or max(abs(lon1), abs(lon2)) > 360:
        return None
    a, b = math.radians(lat1), math.radians(lat2)
    across = math.sin(math.radians(lon2 - lon1) / 2) ** 2
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * across
    return 2 * EARTH_METRES * math.asin(min(1.0, math.sqrt(half)))


_FUNCTIONS: dict[str, Callable[..., Scalar | None]] = {
    "upper": str.upper,
    "lower": str.lower,
    "trim": str.strip,
    "len": len,
    "contains": lambda text, part: part in text,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "matches": lambda text, pattern: linear_pattern(pattern).search(text) is not None,
    "split": _split,
    "concat": lambda *values: "".join(map(written, values)),
    "hash": stable_hash,
    "bucket": lambda value, many: stable_hash(value) % many,
    "distance": _distance,
}
