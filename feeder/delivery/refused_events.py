"""Events that are not applied: stored as dead letters, counted, and told once per reason."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from feeder.message_batch import Stored, letter
from feeder.reporting import Counts
from feeder.source.dead_letter_topic import DeadLetters, dead_letter_topic

from .retry import persist

log = structlog.get_logger("feeder")

Why = tuple[str, str, Sequence[str]]
"""Reason, message, and the metrics for which an event counts as refused."""


class Refusals:
    """Publishes the dead letters of ``topic`` on ``thread``, and keeps ``counts``."""

    def __init__(self, letters: DeadLetters, topic: str, counts: Counts, thread: ThreadPoolExecutor) -> None:
        self._letters, self._topic, self._counts, self._thread = letters, topic, counts, thread

    async def publish(self, batch: Sequence[Stored], refused: Mapping[int, Why]) -> None:
        """Return when the broker has stored the dead letters of the ``refused`` rows of ``batch``."""
        letters = [letter(batch[row], *why) for row, why in sorted(refused.items())]

        async def store() -> None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._letters.publish, letters)

        await persist("publishing dead letters", store)
        counts = self._counts
        for one in letters:
            if one.reason not in counts.reasons:
                log.warning(
                    "event refused and written to the dead-letter topic (logged once per reason)",
                    reason=one.reason,
                    message=one.message,
                    topic=self._topic,
                    position=f"{one.partition}:{one.position}",
                    dead_letters=dead_letter_topic(self._topic),
                )
            counts.reasons[one.reason] = counts.reasons.get(one.reason, 0) + 1
        counts.late = counts.reasons.get("late", 0)
        counts.refused = sum(counts.reasons.values()) - counts.late
