"""Conditions of workers that do not run or fail."""

from __future__ import annotations

from collections.abc import Iterator

from .condition import Condition
from .look import Applied, Look


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Every worker of the metric that is not well, by its own word or by Temporal's."""
    if applied.metric.source.partitions == "per-key" and not applied.workers:
        yield Condition("waiting for keys", "")
    for health in (*applied.workers, *applied.outputs):
        if health.state != "ok":
            yield Condition(health.state, health.cause or "", health.worker_id)
