"""Source partitions that have fallen silent, and what watermark they have meanwhile. No I/O.

A partition is *idle* when nothing has come from it for ``idle_timeout``, by the feeder's clock, while the
broker held nothing more of it. It must not hold back those that are not: its watermark then follows the least
of theirs. When all are idle, each goes on as if event time went on with the clock, from the watermark that
its last message left; one that has never had an event follows the others. No watermark goes back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from feeder.positions import SILENT, Offset, Reached

# How often silent partitions are looked at, as a share of the timeout and in seconds.
_SHARE = 4
_SHORTEST, _LONGEST = 0.25, 60.0


class Idle:
    """The silence of the partitions of one source. ``timeout``: microseconds; instants are seconds."""

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout / 1e6
        self.every = min(max(self._timeout / _SHARE, _SHORTEST), _LONGEST)
        self._last: dict[int, tuple[Offset, float, int | None]] = {}
        self.looked = float("-inf")

    def note(self, reached: Mapping[int, Reached], now: float) -> None:
        """Take how far all partitions have come ``now``; the clock of one that has moved starts again."""
        for partition, at in reached.items():
            last = self._last.get(partition)
            if last is None or last[0] != at.offset:
                mark = None if at.offset == SILENT.offset else at.watermark
                self._last[partition] = at.offset, now, mark

    def silent(self, now: float) -> set[int]:
        """The partitions from which nothing has come for the timeout."""
        return {p for p, (_, since, _) in self._last.items() if now - since >= self._timeout}

    def risen(self, reached: Mapping[int, Reached], idle: Collection[int], now: float) -> dict[int, int]:
        """Return the new watermark of each partition in ``idle`` whose watermark rises."""
        busy = [reached[p].watermark for p in reached if p not in idle]
        if busy:
            known = [mark for mark in busy if mark is not None]
            # A busy partition without any event yet: what it may bring could lie anywhere.
            target = dict.fromkeys(idle, min(known)) if len(known) == len(busy) else {}
        else:
            target = {}
            for partition in idle:
                _, since, mark = self._last[partition]
                if mark is not None:
                    target[partition] = mark + int((now - since) * 1e6)
            if target:
                least = min(_greater(mark, reached[p].watermark) for p, mark in target.items())
                target = {p: target.get(p, least) for p in idle}
        risen: dict[int, int] = {}
        for partition, mark in target.items():
            had = reached[partition].watermark
            if had is None or had < mark:
                risen[partition] = mark
        return risen


def _greater(mark: int, had: int | None) -> int:
    return mark if had is None else max(mark, had)
