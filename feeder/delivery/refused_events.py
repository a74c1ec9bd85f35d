"""Refused events: stored as dead letters, counted, and logged once per reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from feeder.message_batch import letter
from feeder.reporting import Counts
from feeder.source.partitioned_source import PartitionedSource, SourceMessage
from timeline_workers.metric.topics import dead_letter_topic

from .retry import persist

log = structlog.get_logger("feeder")

Why = tuple[str, str, Sequence[str]]
"""Reason, message, and the metrics for which an event counts as refused."""


class Refusals:
    """Publishes the dead letters of ``source``, and keeps ``counts``."""

    def __init__(self, source: PartitionedSource, counts: Counts) -> None:
        self._source, self._counts = source, counts

    async def publish(self, batch: Sequence[SourceMessage], refused: Mapping[int, Why]) -> None:
        """Return when the dead letters are stored of the ``refused`` rows of ``batch``."""
        letters = [letter(batch[row], *why) for row, why in sorted(refused.items())]

        async def store() -> None:
            await self._source.publish(letters)

        await persist("publishing dead letters", store)
        counts = self._counts
        for one in letters:
            if one.reason not in counts.reasons:
                log.warning(
                    "event refused and written to the dead-letter topic (logged once per reason)",
                    reason=one.reason,
                    message=one.message,
                    topic=self._source.topic,
                    position=f"{one.partition}:{one.position}",
                    dead_letters=dead_letter_topic(self._source.topic),
                )
            counts.reasons[one.reason] = counts.reasons.get(one.reason, 0) + 1
        counts.late = counts.reasons.get("late", 0)
        counts.refused = sum(counts.reasons.values()) - counts.late
