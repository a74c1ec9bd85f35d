"""Messages that the broker should have delivered and did not.

Offsets are acknowledged cumulatively, so to go on beyond a message that never came is to lose it. A broker
may deliver with a gap: the embedded one does for a while after a consumer was killed or a subscription timed
out, as it holds messages for a consumer that nobody reads any more. Connecting anew brings them. Where the
same gap shows again and again, the messages are gone (their retention has passed, or somebody has skipped
them), and the feeder says so and goes on.
"""

from __future__ import annotations

import structlog

from timeline_workers.errors import TimelineError

from .progress import ENTRY_STEP, SILENT, Offset

log = structlog.get_logger("feeder")

TRIES = 3
TRIES_AT_START = 1


class GapError(TimelineError):
    """The broker has delivered a message before others that come first: subscribe again."""


class Gaps:
    """The gaps that one topic has shown to this process."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._seen: dict[tuple[int, Offset | None, Offset], int] = {}
        self.passed = 0  # gaps that stayed, and were fed beyond

    def check(self, partition: int, after: Offset | None, first: Offset) -> None:
        """Raise GapError when messages between ``after`` and ``first`` may still come.

        ``after`` None (or the place of a partition that has brought nothing): nobody has had any message yet;
        then the first may stand anywhere, as those before it may have been acknowledged for another metric,
        and one try must do.
        """
        if after == SILENT.offset:
            after = None
        if first.minor == 0 if after is None else after >= first or after.is_next(first):
            return
        key = (partition, after, first)
        self._seen[key] = self._seen.get(key, 0) + 1
        if after is None:
            if self._seen[key] <= TRIES_AT_START:
                raise GapError(f"partition {partition} begins at {_shown(first)}; looking whether that is so")
            return
        if self._seen[key] <= TRIES:
            between = f"{_shown(after)} and {_shown(first)}"
            raise GapError(f"partition {partition}: nothing was delivered between {between}")
        self.passed += 1
        log.error(
            "messages are gone, going on without them; did their retention pass before they were fed?",
            topic=self._topic,
            partition=partition,
            after=_shown(after),
            before=_shown(first),
        )


def _shown(offset: Offset) -> str:
    entry, index = divmod(offset.minor, ENTRY_STEP)
    return f"{offset.major}:{entry}:{index}"
