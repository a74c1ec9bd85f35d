"""Merging of stretches that are too many to draw. No I/O.

A window is cut into equal parts; the stretches that lie wholly in one part become one. So what is longer than
a part stays as it is, and no more are left than can be told apart on a screen of that many pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from timeline_workers.answers.answer_models import Value


class Stretch(NamedTuple):
    """A stretch ``[start, end)`` of a timeline, microseconds; ``end`` None: it lasts. ``merged``: how many it
    stands for; its value is that of the last of them, and it has no slope.
    """

    start: int
    end: int | None
    value: Value
    slope: int | float | None
    merged: int = 1


def merge(found: Sequence[Stretch], start: int, end: int, most: int) -> list[Stretch]:
    """``found``, ascending, as at most ``most`` + 1 stretches of the window ``[start, end)``."""
    parts = max(most // 2, 1)
    width = max(-(-(end - start) // parts), 1)
    if len(found) <= most:
        return list(found)

    def part(one: Stretch) -> tuple[int, int]:
        """Which part it lies in; one that lies in none is alone."""
        first = (one.start - start) // width
        alone = one.end is None or (one.end - 1 - start) // width != first
        return (first, 0) if not alone else (first, 1)

    return list(_joined(groupby(found, part)))


def _joined(groups: Iterator[tuple[tuple[int, int], Iterator[Stretch]]]) -> Iterator[Stretch]:
    for (_, alone), group in groups:
        members = list(group)
        if alone or len(members) == 1:
            yield from members
        else:
            last = members[-1]
            yield Stretch(members[0].start, last.end, last.value, None, len(members))
