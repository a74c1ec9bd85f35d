"""Verdicts as stores write them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timeline_workers.columns.key_table import Key
from timeline_workers.columns.rows import FOREVER

from .model import Outcome, Verdict

OUTCOMES = tuple(Outcome)
"""An outcome is written as twice its place in here, and one more where the event lay below the watermark."""

_CODES = {outcome: 2 * place for place, outcome in enumerate(OUTCOMES)}


def code_of(outcome: Outcome, below: bool) -> int:
    """An outcome as it is written."""
    return _CODES[outcome] + below


def origins_of(verdicts: Sequence[Verdict]) -> Mapping[Key, int]:
    """The earliest time of each key among events that count, or would under another expression."""
    found: dict[Key, int] = {}
    for v in verdicts:
        counts = v.outcome is Outcome.ACCEPTED or (v.outcome is Outcome.REFUSED and not v.below)
        if counts and v.key is not None and v.time is not None:
            found[v.key] = min(found.get(v.key, FOREVER), v.time)
    return found


def least_mark(marks: Sequence[int | None], wanted: int) -> int | None:
    """The least watermark of ``wanted`` partitions; None while some has none."""
    known = [mark for mark in marks if mark is not None]
    return min(known) if known and len(known) == max(wanted, len(marks)) else None


def node_mark(writers: Sequence[tuple[int | None, int]]) -> int | None:
    """The watermark of a node from its writers', each with how many there are in all; those of an import, 0
    in all, count where there are no others.
    """
    live = [one for one in writers if one[1]] or list(writers)
    return least_mark([mark for mark, _ in live], max((many for _, many in live), default=1))
