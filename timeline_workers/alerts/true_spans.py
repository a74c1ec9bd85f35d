"""``TrueSpans``: when a Boolean of one key is True, as its revisions have said so far.

Spans are half-open ``(start, end)`` in microseconds, ascending, and never touch; ``OPEN`` is the end of one
that has none yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import numpy as np

from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.rows import FOREVER
from timeline_workers.columns.values import Flags
from timeline_workers.errors import StateError

OPEN: Final = FOREVER
Span: TypeAlias = tuple[int, int]


class TrueSpans:
    """``spans``: all that are known and not forgotten."""

    __slots__ = ("spans",)

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self.spans = list(spans)

    def revise(self, since: int, new: Iterable[Span]) -> None:
        """From ``since`` on it is True on ``new``, spans in order, and nowhere else."""
        kept = [(start, min(end, since)) for start, end in self.spans if start < since]
        for start, end in new:
            begin = max(start, since)
            if begin >= end:
                continue
            if kept and kept[-1][1] == begin:
                begin = kept.pop()[0]
            kept.append((begin, end))
        self.spans = kept

    def seen_at(self, instant: int) -> Iterator[Span]:
        """The spans as they look at ``instant``: those that have begun, open where they end later."""
        for start, end in self.spans:
            if start <= instant:
                yield start, end if end <= instant else OPEN

    def next_change(self, after: int) -> int | None:
        """The earliest instant after ``after`` at which a span begins or ends; None: there is none."""
        later = (t for span in self.spans for t in span if t > after)
        found = min(later, default=OPEN)
        return None if found == OPEN else found

    def forget(self, before: int) -> None:
        """Forget the spans that end before ``before``; no revision may say anything of an earlier instant."""
        self.spans = [span for span in self.spans if span[1] >= before]


def spans_by_key(suffix: Timeline) -> Iterator[list[Span]]:
    """The True spans of each key of a Boolean timeline. Raises StateError for another kind of values."""
    if not isinstance(suffix.values, Flags):
        kind = type(suffix.values).__name__.lower()
        raise StateError(
            f"an alert hears a Boolean, and these values are {kind}: end the rule in a comparison"
        )
    starts, flags = suffix.starts.tolist(), suffix.values.data
    for low, high in zip(suffix.offsets[:-1].tolist(), suffix.offsets[1:].tolist(), strict=True):
        true = (np.flatnonzero(flags[low:high]) + low).tolist()
        yield [(starts[row], starts[row + 1] if row + 1 < high else OPEN) for row in true]
