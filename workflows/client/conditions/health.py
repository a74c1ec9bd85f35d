"""The checks together: how metrics are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from temporalio.client import Client

from workflows.client import ask
from workflows.client.client_errors import clear_errors
from workflows.client.queues import queue_of

from . import (
    archives,
    behind,
    changelogs,
    clocks,
    edges,
    ended_catalog,
    feeding,
    history_look,
    missing_messages,
    neighbours,
    refusals,
    silent_rules,
    unreachable_servers,
    workers,
)
from .condition import Condition, MetricHealth, Notice
from .look import Applied, Look, look_at, writers_by_topic

Check = Callable[[Look, Applied], Iterable[Condition | Notice]]

CHECKS: tuple[Check, ...] = (
    unreachable_servers.check,
    ended_catalog.check,
    workers.check,
    edges.check,
    archives.check,
    feeding.check,
    missing_messages.check,
    behind.check,
    refusals.check,
    clocks.check,
    changelogs.check,
    silent_rules.check,
    history_look.check,
    neighbours.check,
)


def health_of(look: Look) -> list[MetricHealth]:
    """How every metric is that was looked at: those that are applied in their order, then those that cannot
    be used.
    """
    every = {one.metric.name: one for one in (*look.applied, *look.writers)}
    writers = writers_by_topic(entry.metric for entry in look.entries)
    known: dict[str, MetricHealth] = {}

    def health(name: str) -> MetricHealth:
        if name not in known:
            known[name] = MetricHealth(name)  # whoever comes back to it
            applied = every[name]
            found = [one for check in CHECKS for one in check(look, applied)]
            source = applied.metric.source
            writer = writers.get(source.topic) if source.changelog else None
            if writer in every and not (below := health(writer)).is_well:
                said = f"metric {writer}, whose output it reads, is {below.state}: {below.cause or ''}"
                found.append(Condition(below.state, said.rstrip(": ")))
            known[name] = MetricHealth.of(name, found)
        return known[name]

    return [
        *(health(applied.metric.name) for applied in look.applied),
        *(MetricHealth.of(one.name, [Condition("failing", one.reason)]) for one in look.unusable),
    ]


async def metric_health(client: Client, names: Sequence[str] = ()) -> list[MetricHealth]:
    """How the metrics ``names`` are (default: all); takes some seconds at most.

    Raises TimelineError when Temporal or the catalog does not answer, UnknownNameError for an unknown name.
    """
    async with clear_errors(client):
        queue = await queue_of(client)
    entries, unusable = await ask.catalog(client)
    return health_of(await look_at(client, queue, entries, unusable, names))
