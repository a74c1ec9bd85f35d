"""Archives of keys that do not run any more."""

from __future__ import annotations

from collections.abc import Iterator

from .condition import Condition
from .look import Applied, Look


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Every worker some of whose keys are in an archive that was ended by hand, whether the worker has missed
    it yet or not: its keys are known only as long as its history is.
    """
    for health in applied.workers:
        if archives := look.archives.get(health.worker_id):
            yield Condition(
                "failing",
                "archives have ended, and their keys are known only while Temporal keeps ended workflows: "
                f"{', '.join(archives)}",
                health.worker_id,
            )
