"""Refusal of questions about what has been forgotten. No I/O."""

from __future__ import annotations

from timeline_workers.errors import Code, QuestionError
from timeline_workers.events.times import EARLIEST, LATEST, from_microseconds


def not_kept(start: int, kept_from: int) -> QuestionError:
    """The refusal of a question about an instant below what is kept."""
    asked, kept = (from_microseconds(min(max(time, EARLIEST), LATEST), "iso") for time in (start, kept_from))
    return QuestionError(
        f"the history before {kept} has been forgotten, and {asked} lies before; ask from {kept} on",
        code=Code.NOT_KEPT,
    )
