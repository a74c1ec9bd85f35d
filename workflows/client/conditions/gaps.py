"""Messages of a source that are gone and were never fed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .look import Applied, Look
from .model import Condition
from .statuses import progress_of


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Whether the feeder has noted a gap in the topic: answers lack what was in it, for good."""
    noted: dict[int, dict[str, Any]] = {}
    for p in (p for health in applied.workers for p in progress_of(health)):
        # Of a leaf that has heard last of it.
        found = p.get("noted") or {}
        rank = int(p["major"]), int(p["minor"]), int(found.get("gaps") or 0)
        held = noted.get(p["partition"])
        if held is None or rank >= held["rank"]:
            noted[p["partition"]] = {**found, "rank": rank}
    for _, found in sorted(noted.items()):
        words, gaps = found.get("gap"), int(found.get("gaps") or 0)
        if words:
            of = f"{gaps} gaps in topic {applied.metric.source.topic}, the last: " if gaps > 1 else ""
            yield Condition("gap", f"{of}{words}")
