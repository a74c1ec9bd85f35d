"""``TimeColumn``: what the values of a table's time column mean, and what an instant is as a value of it.

A time is a timestamp, which is UTC where it has no zone, or a number in a unit. What is finer than a
microsecond is cut off, toward the past; so a row lies at or after an instant exactly where its value is not
less than ``bound`` of the instant, and databases compare as this module does.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Literal as Choice

from timeline_workers.events.times import EARLIEST, LATEST

Kind = Choice["timestamp", "nanoseconds", "zoned", "date", "int", "float", "decimal"]
Unit = Choice["s", "ms", "us", "ns"]

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_DAY: Final = 86_400_000_000
_INT64: Final = 2**63
_NANOSECONDS: Final = _INT64 // 1000 - 1  # what a timestamp in nanoseconds reaches, in microseconds
_PER_UNIT: Final = {
    "s": Fraction(1_000_000),
    "ms": Fraction(1000),
    "us": Fraction(1),
    "ns": Fraction(1, 1000),
}


class TimeColumn:
    """A time column of one kind; ``unit``: of numbers. Values that are no times are None."""

    def __init__(self, kind: Kind, unit: Unit = "s") -> None:
        self.kind, self.unit = kind, unit
        self._per_unit = _PER_UNIT[unit]

    def instant(self, value: Any) -> int | None:
        """A value in microseconds; None for one that is no time between the years 1 and 9999."""
        if isinstance(value, datetime):
            plain = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
            return (plain - _EPOCH) // _MICROSECOND
        if isinstance(value, date):
            return (value - _EPOCH.date()).days * _DAY
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return None
        if isinstance(value, int):
            found = math.floor(value * self._per_unit)
        elif not math.isfinite(value):
            return None
        else:  # a float is the decimal number that it prints as
            exact = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
            found = math.floor(exact * self._per_unit)
        return found if EARLIEST <= found <= LATEST else None

    def bound(self, instant: int) -> Any:
        """The least value of the column at or after an instant, or one between it and the one before."""
        instant = min(max(instant, EARLIEST), LATEST + 1)
        if self.kind == "nanoseconds":
            return _EPOCH + timedelta(microseconds=min(max(instant, -_NANOSECONDS), _NANOSECONDS))
        if self.kind in ("timestamp", "zoned"):
            # No value lies after the last microsecond of the year 9999, which is the greatest there is.
            found = _EPOCH + timedelta(microseconds=min(instant, LATEST))
            return found.replace(tzinfo=UTC) if self.kind == "zoned" else found
        if self.kind == "date":
            return (_EPOCH + timedelta(days=min(-(-instant // _DAY), LATEST // _DAY))).date()
        exact = Fraction(instant) / self._per_unit
        if self.kind == "int":
            return min(max(math.ceil(exact), -_INT64), _INT64 - 1)
        if self.kind == "float":
            return exact.numerator / exact.denominator
        return Decimal(instant).scaleb({"s": -6, "ms": -3, "us": 0, "ns": 3}[self.unit])
