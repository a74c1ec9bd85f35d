"""Workers of rules that tell nothing for now."""

from __future__ import annotations

from collections.abc import Iterator

from .condition import Condition
from .look import Applied, Look


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Every worker of the rule that says why it is silent."""
    for health in applied.outputs:
        if health.status is not None and health.status.silent:
            yield Condition("lagging", f"it tells nothing now: {health.status.silent}", health.worker_id)
