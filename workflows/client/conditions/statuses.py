"""Statuses of workers, as far as checks read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timeline_workers.events.incarnation import Mark
from workflows.client.worker_health import Health


def state_of(health: Health) -> dict[str, Any]:
    """What a worker says of its node's state; empty when it says nothing."""
    return (health.status or {}).get("state") or {}


def progress_of(health: Health) -> list[dict[str, Any]]:
    """How far a worker says it is, per source partition."""
    progress: list[dict[str, Any]] = state_of(health).get("progress") or []
    return progress


def marks_of(health: Health) -> dict[int, Mark]:
    """Of each source partition, the place up to which a worker says to have applied everything."""
    return {
        p["partition"]: Mark(int(p["major"]), int(p["minor"]), p.get("published"))
        for p in progress_of(health)
    }


def furthest(workers: Iterable[Health]) -> dict[int, Mark]:
    """Of each source partition, the furthest place that any of ``workers`` says to have applied."""
    found: dict[int, Mark] = {}
    for partition, mark in (pair for health in workers for pair in marks_of(health).items()):
        found[partition] = max(mark, found.get(partition, mark), key=Mark.rank)
    return found
