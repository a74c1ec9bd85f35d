"""Findings of a fuzzer, and counts of outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random


class Finding(AssertionError):
    """One input with which something happened that must not: ``given`` is the input."""

    def __init__(self, given: object, why: str) -> None:
        self.given = given
        self.why = why
        super().__init__(f"{why}\ninput: {given!r}")


Report = Callable[[Finding], object]
"""Hears of each finding."""

Target = Callable[[Random, int, Report], "Counter[str]"]
"""Makes and judges so many inputs; returns how often each outcome was seen, which adds up to that number."""

FOUND = "FOUND"


def judged(report: Report, judge: Callable[..., str], *args: object) -> str:
    """The outcome that ``judge`` names, or ``FOUND``."""
    try:
        return judge(*args)
    except Finding as finding:
        report(finding)
        return FOUND


def fail(finding: Finding) -> None:
    """A ``Report`` for tests: the first finding fails them."""
    raise finding
