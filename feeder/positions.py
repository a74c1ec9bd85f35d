"""Positions of messages, watermarks per source partition, and where to go on after a restart. No I/O.

A position is ``(partition, major, minor)``: for Pulsar the partition index, the topic's incarnation and the
ledger id (``events.incarnation``), and ``entry id * 65536 + batch index``. A message that was sent in chunks,
an entry each, is at its last entry with the index 65535: nothing more is in there.

An accepted event raises the watermark of its source partition to the lesser of its time and its message's
publish time, less the allowed lateness; one that lies more than the clock skew after its publish time is
*ahead* and raises nothing, so that one clock which is ahead makes no other event late. An event strictly
below the watermark that stood before it is late. An event that is refused only for a column's value counts
for the watermark, so that metrics which read key and time alike have one watermark.

The same events must be late after a restart as before it, so the watermark must be known exactly at the
message at which the broker goes on. One leaf worker per group of metrics, the *commit leaf*, hears of every
batch, and hears of it last. Where its progress is before that message, its watermark is the one to start
from; where it is at or after, all leaves have everything up to there, and those messages are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from timeline_workers.algebra.leaf_input import Noted, Progress
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import Bools, Int64
from timeline_workers.events.incarnation import ENTRY_STEP as ENTRY_STEP, WHOLE_ENTRY as WHOLE_ENTRY
from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.metric.model import CLOCK_SKEW
from timeline_workers.wire.leaf_batch import noted_of
from workflows.worker_status import WorkerStatus

BEFORE_ALL = -(2**62)  # below every event time


class Offset(NamedTuple):
    """A place within one source partition."""

    major: int
    minor: int

    def leads_to(self, other: Offset) -> bool:
        """Whether ``other`` may directly follow this place within one ledger: then no entry is missing
        between them. Where a ledger ends is not known, and another feeder may have fed the rest of it.
        """
        return other.major == self.major and self.is_next(other)

    def is_next(self, other: Offset) -> bool:
        """Whether ``other`` may directly follow this place.

        The last batch index of an entry and the last entry of a ledger are not known, so the first of the
        next counts as following.
        """
        if other.major != self.major:
            return other.major > self.major and other.minor == 0
        if other.minor == self.minor + 1:
            return True
        return other.minor % ENTRY_STEP == 0 and other.minor // ENTRY_STEP == self.minor // ENTRY_STEP + 1


def minor_of(entry: int, batch_index: int) -> int:
    """Return the minor part of a position; a message outside a Pulsar batch has index -1, which counts as
    0.
    """
    return entry * ENTRY_STEP + max(batch_index, 0)


@dataclass(frozen=True, slots=True)
class Reached:
    """How far one source partition has come.

    ``watermark``: microseconds, None before any event; ``late``, ``refused``: how many events up to here were
    not applied; ``published``: when the last message was, microseconds, None where it is not known.
    ``noted`` takes no part in comparisons.
    """

    offset: Offset
    watermark: int | None
    late: int = 0
    refused: int = 0
    published: int | None = None
    noted: Noted = field(default=Noted(), compare=False)

    def as_progress(self, partition: int) -> Progress:
        """The same in the form that leaves are sent."""
        return Progress(
            partition, *self.offset, self.watermark, self.late, self.refused, self.published, self.noted
        )

    def before(self, other: Reached) -> bool:
        """Whether ``other`` knows more: a later place, or at the same place a greater watermark."""
        return self._rank() < other._rank()

    def _rank(self) -> tuple[Offset, int]:
        return self.offset, BEFORE_ALL if self.watermark is None else self.watermark


def read_progress(status: WorkerStatus) -> dict[int, Reached]:
    """Return, per source partition, what a leaf says of itself that it has applied."""
    return {
        p.partition: Reached(
            Offset(p.major, p.minor),
            p.watermark,
            p.late,
            p.refused,
            p.published,
            noted_of({} if p.noted is None else p.noted.model_dump(exclude_none=True)),
        )
        for p in status.progress
    }


def resume(committed: Reached | None, leaves: Iterable[Reached]) -> Reached | None:
    """Decide where to go on in a partition: what is known to have reached every leaf.

    Messages up to the returned offset are skipped, and its watermark stands before what follows. None: a new
    start. The commit leaf hears of everything last. Where it has had nothing, as when it belongs to a new
    metric, the worker that is furthest behind counts: ``leaves`` are all workers of those leaves that have
    had something, ``SILENT`` for one that has not. One that is ahead says nothing of its siblings, even if
    the next message follows it directly: who was killed between two of them may have fed the one and not the
    other.
    """
    known = list(leaves)
    chosen = committed
    if chosen is None or chosen.offset == SILENT.offset:
        chosen = min(known, key=lambda r: r.offset, default=committed)
    if chosen is None:
        return None
    # The watermark of a silent partition rises in the same place: of those who are there, the last to hear
    # knows most.
    there = [r for r in (committed, *known) if r is not None and r.offset == chosen.offset]
    return max(there, key=Reached._rank)


@dataclass(frozen=True, slots=True)
class Clocked:
    """What the clock says of N messages.

    ``late``: bool[N]; ``ahead``: bool[N], the accepted ones whose times lay further beyond their publish
    times than the clock skew; ``before``, ``after``: int64[N], the watermark of the message's partition
    before and after it, BEFORE_ALL when there was none; ``late_count``, ``refused_count``: int64[N], how many
    events of the partition were not applied, up to and with it.
    """

    late: Bools
    ahead: Bools
    before: Int64
    after: Int64
    late_count: Int64
    refused_count: Int64


SILENT = Reached(Offset(-1, -1), None)


class Clock:
    """The watermarks of all partitions of one source.

    A partition without any event yet has no watermark, and says so to the leaves: what it may bring could
    still change every answer. ``partitions``: how many there are.
    """

    def __init__(self, allowed_lateness: int, partitions: int = 1, *, clock_skew: int = CLOCK_SKEW) -> None:
        self._lateness = allowed_lateness
        self._skew = min(clock_skew, LATEST - EARLIEST)  # no sum leaves 64 bits then
        self._partitions = partitions
        self._reached: dict[int, Reached] = {}

    @property
    def reached(self) -> Mapping[int, Reached]:
        """How far each partition has come."""
        return self._reached

    def progress(self) -> tuple[Progress, ...]:
        """The progress of all partitions, also of those that have brought nothing yet."""
        silent = (SILENT.as_progress(p) for p in range(self._partitions) if p not in self._reached)
        return (*(r.as_progress(p) for p, r in sorted(self._reached.items())), *silent)

    def start(self, partition: int, reached: Reached | None) -> None:
        """Set (or forget) where ``partition`` stands, as after a restart."""
        if reached is None:
            self._reached.pop(partition, None)
        else:
            self._reached[partition] = reached

    def rise(self, partition: int, watermark: int) -> None:
        """Let the watermark of a silent partition go up to ``watermark``; it never goes back."""
        was = self._reached.get(partition, SILENT)
        if was.watermark is None or was.watermark < watermark:
            self._reached[partition] = replace(was, watermark=watermark)

    def note(self, partition: int, noted: Noted) -> None:
        """Set what is noted of ``partition``, for people."""
        self._reached[partition] = replace(self._reached.get(partition, SILENT), noted=noted)

    def note_missing(self, partition: int) -> None:
        """Note one more value of ``partition`` that did not fit its column and counts as missing."""
        noted = self._reached[partition].noted
        self.note(partition, replace(noted, missing=noted.missing + 1))

    def pass_over(self, partition: int, offset: Offset, published: int) -> None:
        """Go on after the message at ``offset``, published then, without having looked at what was there."""
        was = self._reached.get(partition, SILENT)
        if was.offset < offset:
            self._reached[partition] = replace(was, offset=offset, published=published)

    def advance(
        self,
        position: Positions,
        time: Int64,
        valid: Bools,
        published: Int64,
        late: Bools | None = None,
        timed: Bools | None = None,
    ) -> Clocked:
        """Take N messages, in order within each partition; ``time`` counts where ``timed`` (default:
        ``valid``), which those that are refused only for a column's value are, too. ``published``: 0 where
        there is no publish time: every event raises the watermark there, as far as its own time.

        An event that is late moves no watermark, being below it. ``late``: those of which it is known that
        they were late when they came; by themselves they may not be, as a silent partition's watermark had
        risen.
        """
        before = np.full(len(time), BEFORE_ALL, np.int64)
        after = np.full(len(time), BEFORE_ALL, np.int64)
        late_count, refused_count = np.zeros((2, len(time)), np.int64)
        is_late = np.zeros(len(time), np.bool_)
        bound = np.where(published > 0, published, LATEST)
        is_ahead = time > bound + self._skew
        sure = np.minimum(time, bound)
        for partition in np.unique(position.partition).tolist():
            rows = np.flatnonzero(position.partition == partition)
            was = self._reached.get(partition, SILENT)
            start = BEFORE_ALL if was.watermark is None else was.watermark
            raises = (valid if timed is None else timed)[rows]
            counts = raises if late is None else raises & ~late[rows]
            marks = np.where(counts & ~is_ahead[rows], sure[rows] - self._lateness, BEFORE_ALL)
            running = np.maximum.accumulate(np.concatenate(([start], marks)))
            before[rows], after[rows] = running[:-1], running[1:]
            is_late[rows] = valid[rows] & ((time[rows] < before[rows]) | ~counts)
            late_count[rows] = was.late + np.cumsum(is_late[rows])
            refused_count[rows] = was.refused + np.cumsum(~valid[rows])
            last, mark = rows[-1], int(running[-1])
            self._reached[partition] = Reached(
                Offset(int(position.major[last]), int(position.minor[last])),
                None if mark == BEFORE_ALL else mark,
                int(late_count[last]),
                int(refused_count[last]),
                int(published[last]),
                _noted_ahead(was.noted, (time - bound)[rows[is_ahead[rows] & valid[rows] & ~is_late[rows]]]),
            )
        return Clocked(is_late, is_ahead & valid & ~is_late, before, after, late_count, refused_count)


def _noted_ahead(noted: Noted, by: Int64) -> Noted:
    """``noted``, and accepted events that lay so many microseconds, more than the skew, after their publish
    times."""
    if not len(by):
        return noted
    return replace(noted, ahead=noted.ahead + len(by), ahead_by=max(noted.ahead_by, int(by.max())))


def advancing(position: Positions, after: Offset | None) -> tuple[Bools, Offset]:
    """Which of N messages of one partition, as delivered, lie beyond ``after`` and all messages before them.

    Returns that, bool[N], and the furthest place. A broker may deliver again what is not acknowledged, also
    within one batch; only the first delivery counts.
    """
    major, minor = position.major, position.minor
    if after is not None:
        major, minor = np.append(after.major, major), np.append(after.minor, minor)
    further = (major[1:] > major[:-1]) | ((major[1:] == major[:-1]) & (minor[1:] > minor[:-1]))
    if further.all():  # as it is nearly always, and found without sorting
        new = np.ones(len(position), np.bool_)
        return new, Offset(int(major[-1]), int(minor[-1]))
    _, rank = np.unique(np.stack((major, minor), axis=1), axis=0, return_inverse=True)
    furthest = np.maximum.accumulate(rank)
    new = np.append(after is None, rank[1:] > furthest[:-1])
    top = int(np.argmax(rank))
    return (new if after is None else new[1:]), Offset(int(major[top]), int(minor[top]))


def gap(position: Positions, new: Bools, begin: Positions | None = None) -> tuple[Offset, Offset] | None:
    """The first two neighbours among the ``new`` messages of one partition of which the first does not lead
    to the second (see ``Offset.leads_to``); None when there are none. ``begin``: where each of the messages
    begins, if some take more than one entry.
    """
    major, minor = position.major[new], position.minor[new]
    first = position if begin is None else begin
    to_major, to_minor = first.major[new][1:], first.minor[new][1:]
    next_entry = (to_minor % ENTRY_STEP == 0) & (to_minor // ENTRY_STEP == minor[:-1] // ENTRY_STEP + 1)
    # One that begins before the end of its neighbour: their chunks come alternately.
    within = to_minor <= minor[:-1]
    follows = np.where(
        to_major == major[:-1], (to_minor == minor[:-1] + 1) | next_entry | within, to_major < major[:-1]
    )
    if follows.all():
        return None
    i = int(np.argmin(follows))
    return Offset(int(major[i]), int(minor[i])), Offset(int(major[i + 1]), int(minor[i + 1]))


def progress_of(
    position: Positions,
    clocked: Clocked,
    published: Int64,
    rows: NDArray[np.intp],
    reached: Mapping[int, Reached],
) -> tuple[Progress, ...]:
    """Return how far the partitions of messages ``rows`` (ascending) have come with the last of them.

    ``reached``: where their whole batch ends, for what is noted.
    """
    found: dict[int, Progress] = {}
    partitions = position.partition[rows]
    for partition in np.unique(partitions).tolist():
        last = rows[np.flatnonzero(partitions == partition)[-1]]
        mark = int(clocked.after[last])
        found[partition] = Progress(
            partition,
            int(position.major[last]),
            int(position.minor[last]),
            None if mark == BEFORE_ALL else mark,
            int(clocked.late_count[last]),
            int(clocked.refused_count[last]),
            int(published[last]),
            reached[partition].noted,
        )
    return tuple(found.values())
