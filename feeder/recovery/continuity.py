"""Continuity of a topic: recreated and trimmed topics, found by looking up the last message that was fed.

When the feeder opens a topic, the furthest message that the leaves have had (the *mark*) is looked up in the
broker, which says what incarnation each partition has (``events.incarnation``). While it feeds, the
last message that it has received is looked up again: every few seconds, and before anything is fed after the
connection was lost. Where messages may be gone that were never fed, the gap is noted for the leaves, once;
``OnReset`` says what then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

import numpy as np
import structlog

from feeder.loop_clock import now
from feeder.message_batch import offset_of, shown
from feeder.positions import SILENT, Offset, Reached
from feeder.routing.router import Messages
from feeder.source.partitioned_source import PartitionedSource
from timeline_workers.errors import TimelineError
from timeline_workers.events.incarnation import (
    Mark,
    Message,
    Shown,
    Verdict,
    incarnation_of,
    judge,
    shown_place,
)
from timeline_workers.events.times import from_microseconds

from .gaps import Gaps

log = structlog.get_logger("feeder")

LOOK_SECONDS = 5.0
# So many partitions are looked at in one go; of more, the others the next time.
AT_ONCE = 16


class OnReset(StrEnum):
    """What to do when messages are gone that were not fed."""

    stop = "stop"
    resume = "continue"


class TopicResetError(TimelineError):
    """The topic is not the one that was fed so far: connect again, and find out where it begins."""


class StoppedError(TimelineError):
    """Messages are missing, and the operator wants to decide himself."""


class Continuity:
    """Follows one topic over its incarnations, which ``source`` is told.

    One that no other feeder has, as on the embedded broker, is asked no more often than need be: that broker
    loses a topic only by being stopped and wiped, and remembers every Reader that there ever was.
    """

    def __init__(self, source: PartitionedSource, gaps: Gaps, on_reset: OnReset) -> None:
        self._source, self._gaps, self._on_reset = source, gaps, on_reset
        self._sure = True
        self._witnesses: dict[int, Mark] = {}
        self._beginnings: dict[int, Message] = {}
        self._next, self._looked = 0, now()

    async def open(self, marks: Mapping[int, Reached]) -> None:
        """Find out the incarnations of the topic. ``marks``: how far any leaf is, by partition."""
        fed = {p: at for p, at in marks.items() if at.offset != SILENT.offset}
        seen = await self._source.shown({p: _mark(at) for p, at in fed.items()})
        self._source.incarnations.clear()
        for partition, at in fed.items():
            known = incarnation_of(at.offset.major)
            if partition in seen:
                verdict = judge(_mark(at), seen[partition])
                if verdict in (Verdict.RECREATED, Verdict.CUT):
                    known += 1
                else:
                    self._witnesses[partition] = _mark(at)
            self._source.incarnations[partition] = known
        self._sure = all(shows.at is not None for shows in seen.values())
        if not self._source.apart:
            self._beginnings = await self._source.beginnings(marks.keys())

    def note(self, messages: Messages, partitions: Iterable[int]) -> None:
        """Take messages of these partitions, which were received last."""
        for partition in partitions:
            row = int(np.flatnonzero(messages.position.partition == partition)[-1])
            place = offset_of(messages.position, row)
            self._witnesses[partition] = Mark(*place, int(messages.published[row]))

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return (self._source.shared or not self._sure) and now() - self._looked >= LOOK_SECONDS

    async def look(self, *, everywhere: bool = False) -> None:
        """Raise TopicResetError when the topic is not the one any more that was received so far.

        ``everywhere``: look at all partitions, however many.
        """
        self._looked = now()
        if not self._source.apart:
            await self._look_at_beginnings()
            return
        known = sorted(self._witnesses)
        if not everywhere and len(known) > AT_ONCE:
            first = self._next % len(known)
            known, self._next = (known + known)[first : first + AT_ONCE], first + AT_ONCE
        marks = {p: self._witnesses[p] for p in known}
        found = await self._source.shown(marks)
        for partition, seen in found.items():
            if judge(marks[partition], seen) in (Verdict.RECREATED, Verdict.CUT):
                raise self._reset(partition)
        # Of a topic that shows nothing it is not known yet whether it is another one.
        self._sure = all(seen.at is not None for seen in found.values())

    async def _look_at_beginnings(self) -> None:
        now = await self._source.beginnings(self._beginnings.keys() | self._witnesses.keys())
        for partition, first in now.items():
            known = self._beginnings.setdefault(partition, first)
            mark = self._witnesses.get(partition)
            newer = mark is not None and judge(mark, Shown(first, None)) is Verdict.RECREATED
            if known != first or newer:
                raise self._reset(partition)
        self._sure = bool(now) or not self._witnesses

    def _reset(self, partition: int) -> TopicResetError:
        mark = self._witnesses.get(partition)
        at = "its beginning" if mark is None else shown_place(*mark.rank())
        return TopicResetError(
            f"partition {partition} no longer holds the last message received, at {at}: the topic was "
            "recreated, or the broker lost its data"
        )

    async def taken_up(
        self, partition: int, found: Reached | None, first: Offset | None = None
    ) -> Reached | None:
        """``found``, how far the leaves of a group are, with a gap noted where messages after it may be gone
        that were never fed. ``first``: the message that is to be fed next, where one is known.

        Raises StoppedError where that is what to do then, and TopicResetError when the topic has another
        incarnation than it was opened with.
        """
        if found is None or found.offset == SILENT.offset:
            return found
        now, then = self._source.incarnations.get(partition, 0), incarnation_of(found.offset.major)
        if now < then:
            raise self._reset(partition)  # another feeder has found that out
        if now == then and first is not None and first.major == found.offset.major:
            return found  # what lies between them is found by their places
        mark = _mark(found)
        seen = (await self._source.shown({partition: mark})).get(partition)
        if seen is None or (seen.first is None and seen.at is None):
            return found  # nothing is there yet
        verdict = judge(mark, seen)
        if now > then:
            verdict = Verdict.CUT if verdict is Verdict.CUT else Verdict.RECREATED
        elif verdict is Verdict.KEPT:
            return found
        elif verdict is not Verdict.DELETED:
            raise self._reset(partition)
        begins = found.offset
        if verdict is Verdict.CUT and found.published is not None:
            # What is left of it was fed.
            begins = await self._source.last_until(partition, found.published) or begins
        return self.with_gap(replace(found, offset=begins), _words(partition, found, seen, verdict))

    def with_gap(self, found: Reached, words: str) -> Reached:
        """``found`` with one gap more. Raises StoppedError where that is what to do."""
        if self._on_reset is OnReset.stop:
            raise StoppedError(words)
        self._gaps.passed += 1
        log.error("messages are missing; resuming after the gap", topic=self._source.topic, gap=words)
        return replace(found, noted=replace(found.noted, gaps=found.noted.gaps + 1, gap=words))


def _mark(at: Reached) -> Mark:
    return Mark(*at.offset, at.published)


def _words(partition: int, found: Reached, seen: Shown, verdict: Verdict) -> str:
    """What is missing, for people: after which message, and before which."""
    after = f"{shown(found.offset)}{_when(found.published)}"
    then = seen.first or seen.at
    before = "nothing" if then is None else f"{shown_place(*then.place)}{_when(then.published)}"
    if verdict is Verdict.RECREATED:
        return (
            f"partition {partition}: the topic was recreated or its data were deleted; unfed messages after "
            f"{after} are lost, the topic now begins at {before}"
        )
    if verdict is Verdict.CUT:
        return (
            f"partition {partition}: the broker has lost the end of the topic, and {after} with it; with the "
            "messages that were fed, others may be lost that were not"
        )
    return (
        f"partition {partition}: messages after {after} were deleted before they were fed, as by "
        "retention, a message TTL or a backlog quota, or the topic was recreated; the first that is left is "
        f"{before}"
    )


def _when(published: int | None) -> str:
    return "" if published is None else f" (published {from_microseconds(published, 'iso')})"
