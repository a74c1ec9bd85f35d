"""The place to begin in a source, as ``--from`` says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time

from timeline_workers.errors import TimelineError


class BeginError(TimelineError):
    """``--from`` is none of earliest, latest and a time."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Where to begin: at messages published at ``published`` (microseconds) or later; None: at the first."""

    published: int | None
    latest: bool = False

    @staticmethod
    def parse(text: str) -> Begin:
        """Read ``earliest``, ``latest``, ISO 8601 (UTC where it names no zone) or seconds since the epoch.

        Raises BeginError.
        """
        if text == "earliest":
            return Begin(None)
        if text == "latest":
            return Begin(int(time() * 1_000_000), latest=True)
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return Begin(int(float(text) * 1_000_000))
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise BeginError(
                f"--from {text!r} is none of earliest, latest, a time such as 2026-05-01T12:00:00Z, and "
                "seconds since the epoch"
            ) from error
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return Begin(int(at.timestamp() * 1_000_000))

    def leaves_out(self, published: int) -> bool:
        """Whether a message published then lies before the beginning."""
        return self.published is not None and published < self.published
