"""Messages of a source that are gone and were never fed."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.worker_status import NotedStatus

from .condition import Condition
from .look import Applied, Look
from .statuses import progress_of


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Whether the feeder has noted a gap in the topic, or will: answers lack what was in it, for good."""
    topic = applied.metric.source.topic
    noted: dict[int, tuple[tuple[int, int, int], NotedStatus]] = {}
    for p in (p for health in applied.workers for p in progress_of(health)):
        # Of a leaf that has heard last of it.
        found = p.noted or NotedStatus()
        rank = p.major, p.minor, found.gaps
        held = noted.get(p.partition)
        if held is None or rank >= held[0]:
            noted[p.partition] = rank, found
    for _, (_, found) in sorted(noted.items()):
        if found.gap:
            of = f"{found.gaps} gaps in topic {topic}, the last: " if found.gaps > 1 else ""
            yield Condition("gap", f"{of}{found.gap}")
    if topic in look.other_topics:
        yield Condition(
            "gap",
            f"topic {topic} was recreated, or its data were deleted, since it was last fed: unfed messages "
            "are lost; the feeder notes the gap when it feeds what is there now",
        )
