"""Exact values of a timeline's rows, as the history has them. No I/O."""

from __future__ import annotations

from fractions import Fraction

from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Flags, Linear

from .model import Value

MILLION = 1_000_000


def exact_value(timeline: Timeline, row: int) -> tuple[Value, Fraction | None]:
    """The value of a row where it starts, and its slope a second; None for one that has none."""
    values = timeline.values
    if isinstance(values, Flags):
        return bool(values.data[row]), None
    if not isinstance(values, Linear):
        return values.item(row), None
    if not values.known[row]:
        return None, None
    number, slope = values.num[row], values.slope[row]
    exact = number if isinstance(number, Fraction) else Fraction(int(number))
    return exact / MILLION, slope if isinstance(slope, Fraction) else Fraction(int(slope))
