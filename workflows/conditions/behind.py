"""Result workers that have not applied yet what the event processors have."""

from __future__ import annotations

from collections.abc import Iterator

from .look import Applied, Look, progress_of
from .model import Condition

BEHIND_SECONDS = 5.0


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Whether what a result worker has applied was published long before what some worker of the metric has.

    By publish time, of one source partition each: so the clocks of producers do not matter, but that of one
    which jumped in between does, for as long as the result is behind.
    """
    furthest: dict[int, tuple[tuple[int, int], int]] = {}
    for health in applied.workers:
        for p in progress_of(health):
            reached = (int(p["major"]), int(p["minor"])), int(p.get("published") or 0)
            furthest[p["partition"]] = max(reached, furthest.get(p["partition"], reached))
    for result in applied.results:
        for p in progress_of(result):
            at, published = furthest[p["partition"]]
            seconds = (published - int(p.get("published") or 0)) / 1e6
            if (p["major"], p["minor"]) < at and p.get("published") and seconds > BEHIND_SECONDS:
                yield Condition(
                    "lagging",
                    f"it is {seconds:.0f} s behind what the event processors have applied; its worker "
                    "processes have too much to do, or a worker between them does not go on",
                    result.worker_id,
                )
                break
