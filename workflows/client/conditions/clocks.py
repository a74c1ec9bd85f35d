"""Clocks of producers that are ahead."""

from __future__ import annotations

from collections.abc import Iterator

from timeline_workers.language.durations import format_duration
from workflows.worker_status import NotedStatus

from .condition import Notice
from .look import Applied, Look
from .refusals import is_recent, latest_noted


def check(look: Look, applied: Applied) -> Iterator[Notice]:
    """Source partitions with events of the last minute further ahead of their publish times than the source's
    clock skew.
    """
    source = applied.metric.source
    for partition, noted in sorted(latest_noted(applied.plan, applied.workers).items()):
        ahead, recent = ahead_of(noted)
        if not (recent and is_recent(look, noted)):
            continue
        of_those = f", {recent:,} of them in the last minute" if noted.recent_ahead is not None else ""
        yield Notice(
            f"topic {source.topic}, partition {partition}: {ahead:,} event{'s' * (ahead > 1)} had times "
            f"up to {_seconds(noted.ahead_by)} after they were published, more than clock_skew "
            f"({format_duration(source.clock_skew)}){of_those}; they are applied and do not move the "
            "watermark. Set the clock of their producer or correct its time unit; a smaller max_ahead in the "
            "metric's source refuses them"
        )


def ahead_of(noted: NotedStatus) -> tuple[int, int]:
    """How many events of a source partition were ahead so far, and how many of those in its last minute: of
    a worker of an earlier release, which does not say that, all.
    """
    return noted.ahead, noted.ahead if noted.recent_ahead is None else noted.recent_ahead


def _seconds(micros: int) -> str:
    return format_duration(max(micros // 1_000_000, 1) * 1_000_000)
