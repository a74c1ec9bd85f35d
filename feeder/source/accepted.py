"""Acknowledgements: of what was fed, all but the last entry of each partition."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from feeder.loop_clock import now
from feeder.positions import ENTRY_STEP, Offset

from .partitioned_source import PartitionedSource, SourceMessage

# While messages flow, acknowledge this often; at once when none come.
ACKNOWLEDGE_SECONDS = 1.0


class Accepted:
    """Per partition the last message that every leaf has been sent, until it is acknowledged.

    Its entry is not, before a message of another one follows: a broker deletes what is acknowledged. As
    long as the last message that was fed is there, what follows it is, too, and when it is gone, more may be
    gone than was fed.
    """

    def __init__(self, source: PartitionedSource) -> None:
        self._source = source
        self._last: dict[int, SourceMessage] = {}
        self._before: dict[int, SourceMessage] = {}
        self._at = now()

    def __bool__(self) -> bool:
        """Whether there is something to acknowledge."""
        return bool(self._before)

    @property
    def due(self) -> bool:
        """Whether the last acknowledgement is long enough ago for another while messages flow."""
        return now() - self._at >= ACKNOWLEDGE_SECONDS

    def note(self, batch: Sequence[SourceMessage], partitions: Collection[int]) -> None:
        """Take messages of these partitions that every leaf has been sent."""
        last: dict[int, SourceMessage] = {}
        before: dict[int, SourceMessage] = {}
        for stored in reversed(batch):
            partition = stored.partition
            if partition not in last:
                last[partition] = stored
            elif partition not in before and _entry(stored.place) < _entry(last[partition].place):
                before[partition] = stored
                if len(before) == len(partitions):
                    break
        for partition, stored in last.items():
            held = self._last.get(partition)
            if held is not None and stored.place <= held.place:
                continue  # delivered again
            self._last[partition] = stored
            earlier = before.get(partition)
            if earlier is None or (held is not None and earlier.place < held.place):
                earlier = held
            if earlier is not None and _entry(earlier.place) < _entry(stored.place):
                self._before[partition] = earlier

    async def acknowledge(self) -> None:
        """Acknowledge them. Raises SourceError."""
        await self._source.acknowledge(list(self._before.values()))
        self._before.clear()
        self._at = now()


def _entry(place: Offset) -> tuple[int, int]:
    return place.major, place.minor // ENTRY_STEP
