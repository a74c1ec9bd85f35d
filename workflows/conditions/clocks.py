"""Clocks of producers that are ahead."""

from __future__ import annotations

from collections.abc import Iterator

from timeline_workers.language.durations import format_duration

from .look import Applied, Look, progress_of
from .model import Notice


def check(look: Look, applied: Applied) -> Iterator[Notice]:
    """Source partitions with events further ahead of their publish times than the source's clock skew."""
    source = applied.metric.source
    seen: dict[int, tuple[int, int]] = {}
    for p in (p for health in applied.workers for p in progress_of(health)):
        noted = p.get("noted") or {}
        if noted.get("ahead"):
            most, furthest = seen.get(p["partition"], (0, 0))
            seen[p["partition"]] = max(most, noted["ahead"]), max(furthest, noted["ahead_by"])
    for partition, (ahead, furthest) in sorted(seen.items()):
        yield Notice(
            f"topic {source.topic}, partition {partition}: {ahead:,} event{'s' * (ahead > 1)} had times "
            f"up to {_seconds(furthest)} after they were published, more than clock_skew "
            f"({format_duration(source.clock_skew)}); they are applied and do not move the watermark. Set "
            "the clock of their producer or correct its time unit; a smaller max_ahead in the metric's "
            "source refuses them"
        )


def _seconds(micros: int) -> str:
    return format_duration(max(micros // 1_000_000, 1) * 1_000_000)
