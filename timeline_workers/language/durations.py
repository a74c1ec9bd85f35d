"""Durations in text: ``5s``, ``10 sec``, ``2m``, ``1h``, ``7d``, ``250ms``, ``40us``."""

from __future__ import annotations

import re
from fractions import Fraction

from timeline_workers.errors import MetricError

MICROSECONDS = {
    "us": 1,
    "µs": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "sec": 1_000_000,
    "secs": 1_000_000,
    "second": 1_000_000,
    "seconds": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "mins": 60_000_000,
    "minute": 60_000_000,
    "minutes": 60_000_000,
    "h": 3_600_000_000,
    "hour": 3_600_000_000,
    "hours": 3_600_000_000,
    "d": 86_400_000_000,
    "day": 86_400_000_000,
    "days": 86_400_000_000,
}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zµ]+)\s*")


def parse_duration(text: str) -> int:
    """Return ``text`` in whole microseconds.

    Raises MetricError when it is not a number and a unit, or not a whole number of microseconds.
    """
    match = _DURATION.fullmatch(text)
    if match is None or match[2] not in MICROSECONDS:
        raise MetricError(
            f"{text!r} is not a duration; write a number and a unit, such as 5s, 2m, 250ms or 7d"
        )
    exact = Fraction(match[1]) * MICROSECONDS[match[2]]
    if exact.denominator != 1:
        raise MetricError(
            f"{text!r} is not a whole number of microseconds; times here are whole microseconds"
        )
    return int(exact)


def format_duration(microseconds: int) -> str:
    """Return the shortest text that ``parse_duration`` reads back as ``microseconds``."""
    for unit in ("d", "h", "m", "s", "ms"):
        if microseconds and microseconds % MICROSECONDS[unit] == 0:
            return f"{microseconds // MICROSECONDS[unit]}{unit}"
    return f"{microseconds}us"
