"""``StoredPast``: a source's past, which goes on in the history store where the source has deleted it.

A metric that is applied later so gets the events that the broker retains no more. Whoever reads the past does
not know the difference: places go on from one to the other. What is read from the store has no partition key,
which the store does not keep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from feeder.positions import Offset
from feeder.source.partitioned_source import PartitionedSource, PastReader, SourceMessage
from timeline_workers.errors import TimelineError
from timeline_workers.history.model import RawEvent

Read = Callable[[int, Offset | None, int], Awaitable[Sequence[RawEvent]]]
"""The stored events of a partition after a place, so many at most."""


class Past(Protocol):
    """What can be read again of a source (see ``PartitionedSource``, which has one)."""

    async def read_from(self, after: Mapping[int, Offset | None]) -> PastReader:
        """See ``PartitionedSource``."""

    async def first_after(self, partition: int, after: Offset | None) -> Offset | None:
        """See ``PartitionedSource``."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as the store has it (see ``SourceMessage``)."""

    partition: int
    place: Offset
    payload: bytes
    published: int
    key: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    ends_entry: bool = False

    @property
    def begin(self) -> Offset:
        """Its place: where a message in chunks began is not stored."""
        return self.place


class StoredPast:
    """The past of ``source`` (see ``Past``). ``look``: reads a store that may be away, and raises then;
    ``wait``: waits for it.
    """

    def __init__(self, source: PartitionedSource, look: Read, wait: Read) -> None:
        self._source, self._look, self._wait = source, look, wait

    async def first_after(self, partition: int, after: Offset | None) -> Offset | None:
        """See ``Past``; of the source alone while the store is away."""
        held = await self._source.first_after(partition, after)
        # One that no other feeder has, the embedded broker, deletes nothing.
        if not self._source.shared or (held is not None and after is not None and after.is_next(held)):
            return held
        stored = await self._first_stored(partition, after)
        return min((one for one in (held, stored) if one is not None), default=None)

    async def read_from(self, after: Mapping[int, Offset | None]) -> PastReader:
        """See ``Past``."""
        until: dict[int, Offset | None] = {}
        for partition, since in after.items() if self._source.shared else ():
            stored = await self._first_stored(partition, since)
            if stored is None:
                continue
            held = await self._source.first_after(partition, since)
            if held is None or stored < held:
                until[partition] = held
        reader = await self._source.read_from(after)
        return StoredReader(reader, self._wait, after, until) if until else reader

    async def _first_stored(self, partition: int, after: Offset | None) -> Offset | None:
        try:
            found = await self._look(partition, after, 1)
        except TimelineError:
            return None
        return Offset(*found[0].position[1:]) if found else None


class StoredReader:
    """Reads what is stored before ``until`` (None: all), and then what ``held`` has (see ``PastReader``)."""

    def __init__(
        self,
        held: PastReader,
        stored: Read,
        after: Mapping[int, Offset | None],
        until: Mapping[int, Offset | None],
    ) -> None:
        self._held, self._stored = held, stored
        self._until = dict(until)
        self._at = {partition: after[partition] for partition in until}
        self._limits: Mapping[int, Offset] = {}

    @property
    def partitions(self) -> frozenset[int]:
        """See ``PastReader``."""
        return self._held.partitions

    @property
    def knows_ends(self) -> bool:
        """See ``PastReader``."""
        return self._held.knows_ends

    async def read(
        self, many: int, limits: Mapping[int, Offset] | None = None, wait_ms: int = 0
    ) -> Sequence[SourceMessage]:
        """See ``PastReader``."""
        self._limits = limits or {}
        found: list[SourceMessage] = []
        for partition in sorted(self._until):
            if len(found) < many:
                found += await self._next(partition, many - len(found))
        # What the source holds of a partition follows what is stored of it, and lies beyond its limit, too.
        return found or await self._held.read(many, limits, wait_ms)

    async def _next(self, partition: int, many: int) -> list[SourceMessage]:
        events = await self._stored(partition, self._at[partition], many)
        until, limit = self._until[partition], self._limits.get(partition)
        places = [Offset(*event.position[1:]) for event in events]
        found: list[SourceMessage] = [
            StoredMessage(partition, at, event.payload, event.published)
            for at, event in zip(places, events, strict=True)
            if (until is None or at < until) and (limit is None or at <= limit)
        ]
        if found:
            self._at[partition] = found[-1].place
        if len(found) == len(events) < many or (len(found) < len(events) and places[len(found)] == until):
            del self._until[partition]
        return found

    async def at_end(self, partition: int) -> bool:
        """See ``PastReader``."""
        if partition in self._until:
            events = await self._stored(partition, self._at[partition], 1)
            at = Offset(*events[0].position[1:]) if events else None
            until, limit = self._until[partition], self._limits.get(partition)
            if at is not None and (until is None or at < until):
                return limit is not None and at > limit
        return await self._held.at_end(partition)

    async def close(self) -> None:
        """Stop reading."""
        await self._held.close()
