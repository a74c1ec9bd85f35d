"""Overwriting a span of one key's pieces, as a changelog's messages do; plain lists, not columns."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import TypeVar

V = TypeVar("V")


def overwrite(
    held: list[tuple[int, V]],
    since: int,
    until: int | None,
    value: V | None,
    carry: Callable[[V, int], V],
) -> list[tuple[int, V]]:
    """``held``, pieces by their starts, with ``value`` on ``[since, until)``; None: what holds just before
    goes on instead. ``until`` None is for ever. ``carry``: a value some microseconds after its piece's start.

    After ``until`` all is as it was; where nothing was, the last piece goes on.
    """
    starts = [start for start, _ in held]
    kept = held[: bisect_left(starts, since)]
    rest: list[tuple[int, V]] = []
    if until is not None:
        after = bisect_right(starts, until)
        rest = held[after:]
        if after:
            start, at = held[after - 1]
            rest = [(until, carry(at, until - start)), *rest]
    return [*kept, *rest] if value is None else [*kept, (since, value), *rest]
