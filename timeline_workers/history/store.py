"""``HistoryStore``: the protocol of a store of events and timelines.

Guarantees of every store:

* *Once.* A raw event is stored once for each position of its topic, a verdict once for each position and
  source definition, a revision once for each writer and stamp, however often they are appended: what is
  stored already stays as it is, and its ``seen`` with it.
* *All or nothing, and durable.* An append is one transaction. When it has returned, it outlives a kill of the
  process and of the machine.
* *Two times.* ``as_of`` asks what was known at a system time: that of an append, which sees it, or any
  between; None asks what is known now. What a revision says again keeps its ``seen``, and a piece that only
  continues the one before it is not stored. So what differs between two system times is what changed.
* *Readers do not wait for writers*, and see whole transactions.

Windows are half-open, ``[start, end)``, in microseconds of event time. Answers come in the orders that are
named, keys in that of their text (``text.key_text``), by code point. ``after`` with ``limit`` goes on after a
place in that order: a window is never read as a whole. A definition, node or key of which nothing is stored
has no events and no pieces; whoever asks knows which there are, or asks ``status``.

Errors: HistoryError where the store does not answer (``may_pass``: trying again can help). QuestionError with
the code ``not-kept`` for a window that begins below what ``forget`` has left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from timeline_workers.columns.key_table import Key

from .model import (
    Appended,
    Changes,
    Contents,
    EventCursor,
    Followed,
    Forgotten,
    Gap,
    Group,
    Judged,
    KeysActive,
    Outcome,
    Piece,
    PieceCursor,
    RawEvent,
    Reach,
    Revision,
    Scope,
    Stamp,
    Status,
    StoredEvent,
    Writer,
)

ACCEPTED = frozenset({Outcome.ACCEPTED})


@runtime_checkable
class HistoryStore(Protocol):
    """A store of events and timelines; see the module for what every call guarantees and raises."""

    async def append_events(
        self, topic: str, events: Sequence[RawEvent], judged: Sequence[Judged] = (), gaps: Sequence[Gap] = ()
    ) -> Appended:
        """Store events of ``topic``, the verdicts on them, and gaps that are known by now.

        Verdicts may be on events that were appended before, as where a metric is applied later. Raises
        QuestionError for a verdict on a position of which there is no event, and for a definition of another
        topic; nothing is stored then.
        """

    async def append_revisions(
        self,
        writer: Writer,
        stamp: Stamp,
        revisions: Sequence[Revision],
        *,
        watermark: int | None = None,
        gaps: Sequence[Gap] = (),
    ) -> Appended:
        """Store what ``writer`` says under ``stamp``, in order, unless its last stamp is not less.

        The mark of the writer is stored in the same transaction. ``watermark``: nothing of the writer's below
        it will change; it never goes back.
        """

    async def events(
        self,
        definition: str,
        start: int,
        end: int,
        *,
        keys: Sequence[Key] | None = None,
        outcomes: frozenset[Outcome] = ACCEPTED,
        as_of: int | None = None,
        seen_after: int | None = None,
        backwards: bool = False,
        after: EventCursor | None = None,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        """The events with a time in the window, by (time, position); ``backwards``: the last one first.
        ``seen_after``: only those whose verdict was stored later than this system time.
        """

    async def pieces(
        self,
        nodes: Sequence[str],
        start: int,
        end: int,
        *,
        keys: Sequence[Group] | None = None,
        as_of: int | None = None,
        carried: bool = True,
        backwards: bool = False,
        after: PieceCursor | None = None,
        limit: int | None = None,
    ) -> list[Piece]:
        """The pieces that start in the window, by (start, node, key), and with ``carried`` those that began
        before it and hold at its start. They are whole: a piece's own start and until. ``backwards``: the
        last one first.
        """

    async def snapshot(
        self,
        nodes: Sequence[str],
        at: int,
        *,
        keys: Sequence[Group] | None = None,
        as_of: int | None = None,
        limit: int | None = None,
    ) -> list[Piece]:
        """The pieces that hold at ``at``, one for each key and node that has one, by (node, key)."""

    async def keys_active(
        self, definition: str, start: int, end: int, *, as_of: int | None = None, limit: int = 200
    ) -> KeysActive:
        """The keys with accepted events in the window, those with most first, then by key."""

    async def density(
        self,
        definition: str,
        start: int,
        end: int,
        buckets: int,
        *,
        keys: Sequence[Key] | None = None,
        as_of: int | None = None,
    ) -> Mapping[Outcome, list[int]]:
        """How many events of each outcome lie in each of ``buckets`` equal parts of the window; these are
        ``(end - start) / buckets`` long, rounded up. Outcomes without any are left out.
        """

    async def origins(self, definition: str, keys: Sequence[Key] | None) -> Mapping[Key, int]:
        """The earliest event time of each of these keys (None: of all) that had an event which counts, or
        would where columns are read in another way; forgotten ones included.
        """

    async def followed(self, definition: str) -> Mapping[int, Followed]:
        """How far each partition has been followed by a definition; those of which nothing was said are left
        out.
        """

    async def unfollow(self, definitions: Sequence[str]) -> int:
        """Forget how far partitions have been followed by these definitions; returns of how many. Whoever
        asks next how far it was begins with what the topic holds; what is stored already stays as it is.
        """

    async def raw_events(
        self, topic: str, partition: int, *, after: tuple[int, int] | None = None, limit: int
    ) -> list[RawEvent]:
        """The next events of a partition after a place, (major, minor), None: from the first on, in order."""

    async def gaps(self, of: str) -> list[Gap]:
        """The gaps of a topic or a node, in the order in which they were told."""

    async def reach(self, definition: str) -> Reach | None:
        """How far what is stored by a definition reaches; None for one of which nothing is."""

    async def changed_since(
        self,
        nodes: Sequence[str],
        seen: int,
        *,
        keys: Sequence[Group] | None = None,
        until: int | None = None,
        limit: int | None = None,
    ) -> Changes:
        """What changed after system time ``seen``, and until ``until`` (None: now), in the order of seen,
        then (node, key); nothing where ``until`` is not later. ``pieces`` with ``as_of`` has what was before,
        and what is. ``limit``: of rows to look at; those of one append come together.
        """

    async def forget(self, before: int, *, idle: int | None = None, of: Scope | None = None) -> Forgotten:
        """Delete events below event time ``before``, and pieces that had ended by then whenever they were
        known: what holds at ``before`` and later is answered as it was. With ``idle``, pieces of a key at a
        node whose value has last changed below that time are deleted with it. Names and origins of keys stay.

        ``of``: only verdicts and pieces of these; an event goes when none of its verdicts is left. One
        without any goes by when it was published, once all definitions of its topic have come so far.

        In many short transactions: where it is cut off, what it has deleted is gone. What is said later of
        instants below ``before`` is not told apart from what was said: let it lie below all watermarks.
        """

    async def contents(self) -> Contents:
        """Of what anything is stored. It takes as long whatever the number of events and pieces."""

    async def status(self) -> Status:
        """What is stored, and how far it reaches."""

    async def close(self) -> None:
        """Let go of the store. What was appended before is stored."""
