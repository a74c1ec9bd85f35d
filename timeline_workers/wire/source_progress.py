"""The progress of a source: per source partition a position and a watermark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import Bools


def has_seen(progress: tuple[Progress, ...], positions: Positions) -> Bools:
    """Whether each position is at or before the progress of its partition."""
    seen = np.zeros(len(positions), np.bool_)
    for p in progress:
        before = (positions.major < p.major) | ((positions.major == p.major) & (positions.minor <= p.minor))
        seen |= (positions.partition == p.partition) & before
    return seen


def later(old: tuple[Progress, ...], new: tuple[Progress, ...]) -> tuple[Progress, ...]:
    """Per partition the later of the two; a watermark never goes back.

    The same position again, with a greater watermark, is later: its partition has fallen silent, and its
    watermark follows the others (or the clock of the feeder).
    """
    merged = {p.partition: p for p in old}
    for p in new:
        held = merged.get(p.partition)
        if held is None or (p.major, p.minor) >= (held.major, held.minor):
            marks = [m for m in (p.watermark, held.watermark if held else None) if m is not None]
            merged[p.partition] = replace(p, watermark=max(marks) if marks else None)
    return tuple(merged[partition] for partition in sorted(merged))


def least(inputs: Sequence[tuple[Progress, ...]]) -> tuple[Progress, ...]:
    """Per partition the least of all inputs; a partition that some input has not heard of is left out."""
    if not inputs:
        return ()
    common = set.intersection(*({p.partition for p in progress} for progress in inputs))
    result = []
    for partition in sorted(common):
        held = [p for progress in inputs for p in progress if p.partition == partition]
        behind = min(held, key=lambda p: (p.major, p.minor))
        marks = [p.watermark for p in held]
        known = [m for m in marks if m is not None]
        mark = min(known) if len(known) == len(marks) else None
        result.append(replace(behind, watermark=mark))
    return tuple(result)


def watermark(progress: tuple[Progress, ...]) -> int | None:
    """The least watermark of all partitions, microseconds; None while some partition has none."""
    marks = [p.watermark for p in progress]
    known = [m for m in marks if m is not None]
    return min(known) if known and len(known) == len(marks) else None
