"""Statuses of workers, as far as checks read them."""

from __future__ import annotations

from collections.abc import Iterable

from timeline_workers.events.incarnation import Mark
from workflows.client.worker_health import Health
from workflows.worker_status import PartitionStatus, StateStatus

_NOTHING = StateStatus()


def state_of(health: Health) -> StateStatus:
    """What a worker says of its node's state; all defaults when it says nothing."""
    return (health.status and health.status.state) or _NOTHING


def progress_of(health: Health) -> tuple[PartitionStatus, ...]:
    """How far a worker says it is, per source partition."""
    return state_of(health).progress


def marks_of(health: Health) -> dict[int, Mark]:
    """Of each source partition, the place up to which a worker says to have applied everything."""
    return {p.partition: p.mark for p in progress_of(health)}


def furthest(workers: Iterable[Health]) -> dict[int, Mark]:
    """Of each source partition, the furthest place that any of ``workers`` says to have applied."""
    found: dict[int, Mark] = {}
    for partition, mark in (pair for health in workers for pair in marks_of(health).items()):
        found[partition] = max(mark, found.get(partition, mark), key=Mark.rank)
    return found
