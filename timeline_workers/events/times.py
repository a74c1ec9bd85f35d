"""Event times and question times: whole microseconds since the epoch (UTC), from and to a source's unit.

Units are ``s``, ``ms``, ``us``, ``ns`` (numbers) and ``iso`` (ISO 8601 text). What is finer than a
microsecond:

- ints and ISO text are truncated toward the past, so that an instant never moves into the future;
- floats are rounded to the nearest microsecond (half to even), computed exactly from the decimal number that
  the float prints as: a JSON ``1672531200.1`` means that decimal, not the binary fraction nearest to it.

Conversion back gives the same microsecond when read again, except for float seconds and milliseconds after
the year 2242, where doubles lie more than a microsecond apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.values import Bools, Int64
from timeline_workers.errors import EventError, QuestionError
from timeline_workers.metric.model import TimeUnit

Time = int | float | str

EARLIEST: Final = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
LATEST: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FORM: Final = {
    "s": "a number of seconds since the epoch",
    "ms": "a number of milliseconds since the epoch",
    "us": "a number of microseconds since the epoch",
    "ns": "a number of nanoseconds since the epoch",
    "iso": "ISO 8601 text such as 2024-05-01T12:30:00.25Z",
}
_EXPONENT: Final = {"s": 6, "ms": 3, "us": 0, "ns": -3}  # a unit is 10**exponent microseconds
_PER_UNIT: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}  # microseconds; a nanosecond is less than one
_MARKS: Final = ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"))
_SHORTEST, _LONGEST = len("2024-05-01T12:30:00Z"), len("2024-05-01T12:30:00.123456Z")
# The standard library reads more than this, some of it wrongly: a fraction of a minute as one of a second.
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?\s?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


def check_unit(unit: str) -> None:
    """Raise QuestionError unless ``unit`` is one of the five."""
    if unit not in get_args(TimeUnit):
        raise QuestionError(f"{unit!r} is not a time unit; use one of {', '.join(get_args(TimeUnit))}")


def to_microseconds(value: object, unit: str, rounding: str = ROUND_HALF_EVEN) -> int:
    """Return one time in microseconds; ``rounding`` (of ``decimal``) is for floats between two of them.

    A ``datetime`` is taken whatever the unit; without a zone it is UTC.

    Raises EventError: ``missing-time`` for None, ``bad-time`` for anything that is not a time in that unit or
    lies outside the years 1 to 9999.
    """
    if value is None:
        raise EventError("missing-time", "the event has no time")
    if isinstance(value, date):
        return _in_years(_from_datetime(value), value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _bad(value, f"is not a time in unit {unit!r}; give {_FORM[unit]}")
    if unit == "iso":
        if not isinstance(value, str):
            raise _bad(value, "is a number, but the time unit is iso; give text, or the unit s, ms, us or ns")
        return _in_years(_from_iso(value), value)
    if isinstance(value, str):
        raise _bad(value, f"is text, but the time unit is {unit!r}; give a number, or the unit iso")
    if isinstance(value, int):
        return _in_years(value // 1000 if unit == "ns" else value * _PER_UNIT[unit], value)
    if not math.isfinite(value):
        raise _bad(value, f"is not a finite number; give {_FORM[unit]}")
    if abs(value) > 1e21:  # beyond every unit's range, and beyond what decimals hold exactly
        raise _out_of_years(value)
    exact = Decimal(repr(float(value))).scaleb(_EXPONENT[unit])
    return _in_years(int(exact.to_integral_value(rounding)), value)


def ints_to_microseconds(values: Int64, unit: str) -> tuple[Int64, Bools]:
    """Return ``values`` in microseconds, and which of them are times at all (the others are 0)."""
    if unit == "ns":
        result = values // 1000
        good = (result >= EARLIEST) & (result <= LATEST)
    else:
        factor = _PER_UNIT[unit]
        good = (values >= EARLIEST // factor) & (values <= LATEST // factor)
        result = np.where(good, values, 0) * factor
    return np.where(good, result, 0), good


def floats_to_microseconds(values: NDArray[np.float64], unit: str) -> tuple[Int64, Bools]:
    """Return ``values`` in microseconds, and which of them are times at all (the others are 0)."""
    good = np.isfinite(values) & (np.abs(values) < 1e21)
    clean = np.where(good, values, 0.0)
    scale = 10.0 ** _EXPONENT[unit]
    scaled = clean / 1000.0 if unit == "ns" else clean * scale
    rounded = np.rint(scaled)
    # The decimal that a float prints as lies within half a unit in the last place of it, and scaling adds
    # half a unit of its own. Where that cannot carry the value over a boundary, the rounding is exact.
    # Near the ends of the range, where floats are coarser than a microsecond, nothing passes for sure.
    slack = 0.5 * (np.spacing(np.abs(clean)) * scale + np.spacing(np.abs(scaled)))
    sure = np.abs(scaled - rounded) + slack * (1 + 1e-9) < 0.5
    result = np.where(good & sure, rounded, 0.0).astype(np.int64)
    for i in np.flatnonzero(good & ~sure).tolist():
        try:
            result[i] = to_microseconds(float(values[i]), unit)
        except EventError:
            good[i] = False
    return result, good


def iso_to_microseconds(texts: Sequence[str]) -> tuple[Int64, Bools]:
    """Return texts of the common form, ``2024-05-01T12:30:00Z`` with up to six digits of a fraction, in
    microseconds, and which of them are: the others are 0, and for ``to_microseconds`` to judge.
    """
    result, taken = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.bool_)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    likely = np.flatnonzero((sizes >= _SHORTEST) & (sizes <= _LONGEST)).tolist()
    likely = [row for row in likely if texts[row].isascii()]
    result[likely], taken[likely] = _common_iso([texts[row] for row in likely], sizes[likely])
    return result, taken


def _common_iso(texts: Sequence[str], size: Int64) -> tuple[Int64, Bools]:
    table = np.array(texts, f"S{_LONGEST}").view(np.uint8).reshape(len(texts), _LONGEST)
    digits = table - np.uint8(ord("0"))
    good: Bools = table[np.arange(len(texts)), size - 1] == ord("Z")
    for place, mark in _MARKS:
        good &= table[:, place] == ord(mark)

    def number(first: int, last: int) -> Int64:
        value = np.zeros(len(texts), np.int64)
        for place in range(first, last):
            nonlocal good
            good &= digits[:, place] <= 9
            value = value * 10 + digits[:, place]
        return value

    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    good &= (year >= 1) & (month >= 1) & (month <= 12) & (hour <= 23) & (minute <= 59) & (second <= 59)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0)
    first, following = ((months + more).astype("M8[M]").astype("M8[D]").astype(np.int64) for more in (0, 1))
    good &= (day >= 1) & (day <= following - first)
    result = (((first + day - 1) * 24 + hour) * 60 + minute) * 60 + second
    fraction, behind = np.zeros(len(texts), np.int64), size - 1
    good &= (behind == _SHORTEST - 1) | ((table[:, _SHORTEST - 1] == ord(".")) & (behind > _SHORTEST))
    for place in range(_SHORTEST, _LONGEST - 1):
        within = place < behind
        good &= ~within | (digits[:, place] <= 9)
        fraction = fraction * 10 + np.where(within, digits[:, place], 0)
    return np.where(good, result * 1_000_000 + fraction, 0), good


def from_microseconds(microseconds: int, unit: str) -> Time:
    """Return a time in ``unit``: an int where it is whole, else the nearest float; ``iso`` is text with Z."""
    if unit == "iso":
        try:
            moment = _EPOCH + timedelta(microseconds=int(microseconds))
        except OverflowError:  # a window that reaches beyond the year 9999
            return f"{np.datetime64(microseconds, 'us')}Z"
        return moment.replace(tzinfo=None).isoformat() + "Z"
    exact = int(microseconds)
    if unit == "ns":
        return exact * 1000
    whole, rest = divmod(exact, _PER_UNIT[unit])
    return whole if rest == 0 else exact / _PER_UNIT[unit]


def question_time(value: object, unit: str) -> int:
    """Return a question's instant in microseconds, never later than asked; raises QuestionError when it is
    no time in ``unit``.
    """
    check_unit(unit)
    try:
        return to_microseconds(value, unit, ROUND_FLOOR)
    except EventError as error:
        reason = (
            f"a question needs a time; give {_FORM[unit]}" if error.reason == "missing-time" else str(error)
        )
        raise QuestionError(reason) from None


def read_time(text: str, unit: str) -> Time:
    """Return a time written as text, such as a command's argument, as a value in ``unit``.

    Raises QuestionError when it is no time in that unit.
    """
    check_unit(unit)
    value: Time = text
    if unit != "iso":
        for number in (int, float):
            try:
                value = number(text)
                break
            except ValueError:
                continue
        else:
            raise QuestionError(f"time {text!r} is not a number of {unit}; write one, or use the unit iso")
    question_time(value, unit)
    return value


def read_moment(text: str) -> int:
    """Return an instant in microseconds that is written as ISO 8601, or as seconds since 1970. Raises
    QuestionError.
    """
    for unit in ("s", "iso"):
        try:
            return question_time(read_time(text, unit), unit)
        except QuestionError:
            continue
    raise QuestionError(
        f"time {text!r:.100}: write ISO 8601, such as 2026-11-30T14:00:00Z, or seconds since 1970"
    )


def _from_datetime(value: date) -> int:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return (value - _EPOCH) // _MICROSECOND


def _from_iso(text: str) -> int:
    stripped = text.strip()
    if _ISO.fullmatch(stripped) is None:
        raise _bad(text, "is not an ISO 8601 time; write one such as 2024-05-01T12:30:00.25Z")
    try:
        # Digits beyond the sixth are cut off here, which truncates toward the past.
        return _from_datetime(datetime.fromisoformat(stripped.upper().replace(" Z", "Z")))
    except ValueError as error:
        raise _bad(
            text, f"is not an ISO 8601 time: {error}; write one such as 2024-05-01T12:30:00.25Z"
        ) from None


def _in_years(microseconds: int, value: object) -> int:
    if not EARLIEST <= microseconds <= LATEST:
        raise _out_of_years(value)
    return microseconds


def _out_of_years(value: object) -> EventError:
    return _bad(
        value, "lies outside the years 1 to 9999; is the time unit right? It may be s, ms, us, ns or iso"
    )


def _bad(value: object, rule: str) -> EventError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return EventError("bad-time", f"time {shown} {rule}")
