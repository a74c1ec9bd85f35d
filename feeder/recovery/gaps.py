"""Messages that the broker should have delivered and did not.

Offsets are acknowledged cumulatively, so to go on beyond a message that never came is to lose it. When what
comes does not follow what the leaves have, the feeder looks whether the broker holds anything in between, and
reads that first. Where it does not tell, the feeder connects anew, and only after some tries goes on without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from feeder.message_batch import offset_of, partitions_of, shown
from feeder.positions import ENTRY_STEP, Offset, advancing, gap
from feeder.routing.router import Messages
from timeline_workers.errors import TimelineError

TRIES = 3


class GapError(TimelineError):
    """The broker has delivered a message and may hold others that come first: connect again."""


class Order:
    """What one feeder has received of a topic, and whether what comes goes on from there."""

    def __init__(self) -> None:
        self._seen: dict[int, Offset] = {}
        self._heads: dict[int, Offset] = {}
        # Whether what was seen last is the end of its entry: else another feeder may have fed the rest.
        self._ended: dict[int, bool] = {}

    @property
    def seen(self) -> Mapping[int, Offset]:
        """How far each partition was received; grows."""
        return self._seen

    @property
    def heads(self) -> Mapping[int, Offset]:
        """The first that was received of each partition; grows."""
        return self._heads

    def before_gap(self, messages: Messages) -> int:
        """How many of ``messages`` come before the first gap within a partition; at least one."""
        position = messages.position
        cut = len(messages)
        for partition in partitions_of(position):
            rows = np.flatnonzero(position.partition == partition)
            new, _ = advancing(position.take(rows), self._seen.get(partition))
            begin = None if messages.begin is None else messages.begin.take(rows)
            if found := gap(position.take(rows), new, begin):
                place = found[1]
                cut = min(cut, next(int(r) for r in rows if offset_of(position, int(r)) == place))
        return max(cut, 1)

    def take(
        self, messages: Messages, ends_entry: Callable[[int], bool]
    ) -> tuple[dict[int, Offset], set[int]]:
        """Where ``messages`` begin in each partition, and which partitions do not simply go on from where
        they were. ``ends_entry``: whether a row is known to be the last of its entry.
        """
        firsts: dict[int, Offset] = {}
        fresh: set[int] = set()
        position = messages.position
        for partition in partitions_of(position):
            rows = np.flatnonzero(position.partition == partition)
            first = offset_of(messages.begin or position, int(rows[0]))
            seen = self._seen.get(partition)
            if seen is None or not (first <= seen or self._goes_on(partition, seen, first)):
                fresh.add(partition)
            firsts[partition] = first
            self._heads.setdefault(partition, first)
            last = self._seen[partition] = advancing(position.take(rows), seen)[1]
            for row in reversed(rows.tolist()):
                if offset_of(position, row) == last:
                    self._ended[partition] = ends_entry(row)
                    break
        return firsts, fresh

    def _goes_on(self, partition: int, seen: Offset, first: Offset) -> bool:
        same_entry = first.minor // ENTRY_STEP == seen.minor // ENTRY_STEP
        return seen.leads_to(first) and (same_entry or self._ended[partition])


class Gaps:
    """The gaps that one topic has shown to this process. ``passed``: how many were fed beyond."""

    def __init__(self) -> None:
        self._tries: dict[tuple[int, Offset | None, Offset], int] = {}
        self.passed = 0
        self.begun = False  # the subscription has been moved to where it was to begin
        self.arrived: set[int] = set()  # partitions that have brought something since

    def unreadable(self, partition: int, after: Offset | None, first: Offset, cause: Exception) -> str:
        """Raise GapError when the broker may still tell what lies between ``after`` and ``first``; return
        words for the gap when it was asked often enough.
        """
        key = (partition, after, first)
        self._tries[key] = self._tries.get(key, 0) + 1
        if self._tries[key] <= TRIES:
            raise GapError(
                f"partition {partition}: nothing was delivered between {_shown(after)} and {shown(first)}, "
                f"and what is there cannot be read: {cause}"
            ) from cause
        return nothing_between(partition, after, first)


def nothing_between(partition: int, after: Offset | None, first: Offset) -> str:
    """A gap in words: nothing that can be read is left between two messages that do not follow each other."""
    entries = ""
    if after is not None and after.major == first.major:
        many = first.minor // ENTRY_STEP - after.minor // ENTRY_STEP - 1
        entries = f" ({many} of the broker's entries)" if many > 0 else ""
    return (
        f"partition {partition}: between {_shown(after)} and {shown(first)} the broker holds nothing that "
        f"can be read{entries}; did the messages' retention pass before they were fed?"
    )


def _shown(offset: Offset | None) -> str:
    return "the beginning" if offset is None else shown(offset)
