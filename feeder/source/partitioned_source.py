"""A source of messages in partitions: all that the feeder knows of where messages come from.

A source is one topic, opened by one feeder. A partition's messages have places (``Offset``) that grow, and
come in order. What implements ``PartitionedSource`` says how a broker is asked. Nothing here knows a broker.

Whatever a source cannot do for now it says by ``SourceError``: the feeder then opens it anew.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from feeder.positions import Offset
from timeline_workers.events.incarnation import Mark, Message, Shown

from .begin import Begin

Run = Callable[..., Awaitable[Any]]
"""Runs a blocking call elsewhere: ``await run(function, *arguments)``."""


class SourceError(Exception):
    """The source does not answer, or fails, for now: open it anew."""


class NotDeliveredError(SourceError):
    """The source holds messages and does not deliver them for now."""


class DeadLetterError(OSError):
    """A dead letter was not stored; trying again may help."""


class SourceMessage(Protocol):
    """One message. ``place``: its place within the partition; ``published``: when, in microseconds."""

    @property
    def partition(self) -> int:
        """The number of its partition."""

    @property
    def place(self) -> Offset:
        """Its place within the partition; a source delivers them in ascending order."""

    @property
    def begin(self) -> Offset:
        """Where it begins: before its place if it takes several entries, else at its place."""

    @property
    def ends_entry(self) -> bool:
        """Whether it is known to be the last of its entry, which is what is acknowledged as a whole."""

    @property
    def key(self) -> str:
        """Its partition key, "" where it has none."""

    @property
    def payload(self) -> bytes:
        """What the event is decoded from."""

    @property
    def published(self) -> int:
        """When it was published, in microseconds; 0 where the source does not say."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What else was sent with it; of a dead letter the reason and where it comes from."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event that is not applied."""

    payload: bytes
    key: str
    reason: str
    message: str
    partition: int
    position: str
    metrics: str


class PastReader(Protocol):
    """Reads what a source holds after given places, each message once, in order within each partition.

    Close it. All calls raise SourceError.
    """

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are read."""

    @property
    def knows_ends(self) -> bool:
        """Whether the source tells where partitions end, at no cost worth the name."""

    async def read(
        self, many: int, limits: Mapping[int, Offset] | None = None, wait_ms: int = 0
    ) -> Sequence[SourceMessage]:
        """Return about ``many`` of the next messages; fewer when there are no more for now.

        Where a partition has a limit, nothing beyond it is returned (it is kept for later). Waits up to
        ``wait_ms`` for a first message.
        """

    async def at_end(self, partition: int) -> bool:
        """Whether nothing more is stored now in ``partition``, up to the limit of the last reading, than has
        been returned.
        """

    async def close(self) -> None:
        """Stop reading."""


class PastLock(Protocol):
    """The turn of one feeder among several at reading the past for one group of metrics.

    It is a matter of economy only: a replay is right whoever else replays the same. It ends with its holder.
    """

    async def take(self) -> bool:
        """Whether it is this feeder's turn now; also where the source cannot say."""

    def do_without(self) -> None:
        """Take the turn though another feeder has it."""

    async def give_back(self) -> None:
        """Let another feeder have its turn."""


class PartitionedSource(Protocol):
    """One topic, of which one feeder is given all partitions or, with other feeders, some."""

    topic: str
    """Its name."""
    names: Sequence[str]
    """The names of its partitions, as they were when the source was made. Partition 0 is the first."""
    shared: bool
    """Whether other feeders may have some of the partitions. Then the source remembers what was acknowledged;
    if not, it is told where to begin, and what is acknowledged is of no interest."""
    apart: bool
    """Whether each partition can be read apart from the others, so that ``shown`` costs little."""
    incarnations: dict[int, int]
    """Which incarnation of the topic the places of a partition are of (``events.incarnation``): written by
    who finds out, before ``open``. 0 for those that are not there."""

    async def open(self, after: Mapping[int, Offset | None], begin: Begin | None, many: int) -> None:
        """Begin to receive, batches of about ``many`` messages.

        A source that is not shared begins after the places in ``after`` (None: at the first message). A
        shared one begins where it was acknowledged, or where ``begin`` moves it. Raises SourceError, and
        TimelineError with advice where trying again does not help.
        """

    async def receive(self, wanted: threading.Event) -> Sequence[SourceMessage]:
        """Return the next messages, in order within each partition; none when there are none for now.

        What is there is returned at once when it is ``wanted``; until it is, more may gather, up to a full
        batch. Messages may come again: those that were not acknowledged, and those around a partition's move
        to another feeder.
        """

    async def acknowledge(self, messages: Iterable[SourceMessage]) -> None:
        """Note that everything up to these messages, one of a partition, need not come again."""

    @property
    def lost_for(self) -> float:
        """For how many seconds the source is not connected; 0 when it is."""

    def was_lost(self) -> bool:
        """Whether it is connected again after it was not: then it may be another one. True once each time."""

    async def names_now(self) -> Sequence[str]:
        """The names of the partitions, as of now."""

    async def read_from(self, after: Mapping[int, Offset | None]) -> PastReader:
        """Begin to read what these partitions hold after these places (None: at all), beside what is
        received; nobody remembers it.
        """

    async def first_after(self, partition: int, after: Offset | None) -> Offset | None:
        """The place of the first message that is stored in ``partition`` after a place (None: at all); None
        when there is none. Raises NotDeliveredError when there is one and it does not come.
        """

    async def last_until(self, partition: int, published: int) -> Offset | None:
        """The place of the last message in ``partition`` that was published then (microseconds) or before."""

    async def shown(self, marks: Mapping[int, Mark]) -> dict[int, Shown]:
        """What the partitions of these marks hold around them (see ``events.incarnation``); those that do not
        exist are left out. Raises NotDeliveredError.
        """

    async def beginnings(self, partitions: Collection[int]) -> dict[int, Message]:
        """The first messages of these partitions, where these cannot be read apart."""

    async def read_letters(self) -> PastReader:
        """Begin to read all dead letters of this topic. Raises SourceError where there are none."""

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all of ``letters`` are stored. Raises DeadLetterError when it may be tried again."""

    def past_lock(self, signature: str) -> PastLock | None:
        """The turn at reading the past for the group of metrics of ``signature``; None where no other feeder
        reads the topic.
        """

    async def close(self) -> None:
        """Stop, whatever state it is in. What was acknowledged before is remembered; raises nothing."""
