"""Conditions of edges on which a worker waits for messages that will not come."""

from __future__ import annotations

from collections.abc import Iterator

from .condition import Condition
from .look import Applied, Look


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Every worker of the metric that has subscribed to an input which does not know it, or has set it aside:
    a worker that was ended by hand and started again.
    """
    own = {health.worker_id for health in (*applied.workers, *applied.outputs)}
    for edge in look.broken:
        if edge.reader in own:
            yield Condition(
                "failing",
                f"gets no updates from {edge.input}: {edge.why}; the feeder or `timeline apply` repairs that",
                edge.reader,
            )
