"""Metrics whose answers other metrics can change: those that still have the names of earlier releases.

By those names metrics share leaves that refuse different events (``Metric.naming``), and the one that is fed
by the other's rules answers wrongly. Nothing can be done but applying it again, which gives it other names.
"""

from __future__ import annotations

from collections.abc import Iterator

from timeline_workers.errors import TimelineError
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import plan
from timeline_workers.plan.reading import reading_of

from .condition import Notice
from .look import Applied, Look


def check(look: Look, applied: Applied) -> Iterator[Notice]:
    """Which other metrics decide on events of leaves that this one shares with them."""
    if others := neighbours(applied.metric, [entry.metric for entry in look.entries]):
        yield Notice(
            f"it shares event processors with {', '.join(others)}, which refuse "
            "other events, so that its answers may lack or have too many; apply all of them again "
            "(`timeline apply`): then they share nothing that can differ"
        )


def neighbours(metric: Metric, registered: list[Metric]) -> list[str]:
    """The names of the ``registered`` metrics that can change what ``metric`` answers."""
    if metric.naming != 1:
        return []
    judgement, leaves = reading_of(metric).judgement(), _leaves(metric)
    found = []
    for other in registered:
        if other.name == metric.name or other.naming != 1 or other.source.topic != metric.source.topic:
            continue
        try:
            if leaves & _leaves(other) and reading_of(other).judgement() != judgement:
                found.append(other.name)
        except TimelineError:
            continue  # it cannot be planned, so it is not fed
    return found


def _leaves(metric: Metric) -> set[str]:
    return {node.name for node in plan(metric).nodes if node.is_leaf}
