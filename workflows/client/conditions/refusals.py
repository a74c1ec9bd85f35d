"""Events that are refused, and columns that no event has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from timeline_workers.plan.physical import Plan, partition_labels, worker_id
from workflows.client.worker_health import Health
from workflows.worker_status import NotedStatus

from .condition import Condition, Notice
from .look import Applied, Look
from .statuses import progress_of, state_of

RECENT_SECONDS = 60.0
# Of the events of a minute, so many refused and late ones are more than the bad ones of a good source.
SHARE = 0.5


def check(look: Look, applied: Applied) -> Iterator[Condition | Notice]:
    """Whether at least half of the last minute's events of some source partition were not applied, and
    whether some column has had no value in any event.
    """
    topic = applied.metric.source.topic
    for partition, noted in sorted(latest_noted(applied.plan, applied.workers).items()):
        if not is_recent(look, noted):
            continue
        accepted, refused = noted.recent_accepted, noted.recent_refused
        if refused and refused >= SHARE * (accepted + refused):
            of = "" if applied.metric.source.partitions == 1 and not partition else f" partition {partition}"
            yield Condition(
                "refusing",
                f"{refused} of {accepted + refused} events of topic {topic}{of} in the minute before "
                f"the last one were not applied; the last: {noted.reason or 'no reason is known'}. "
                "`timeline deadletter list` shows them",
            )
    yield from unseen_columns(applied.plan, applied.workers)


def is_recent(look: Look, noted: LatestNoted) -> bool:
    """Whether what is ``noted`` of a source partition's last minute is of the last minute now: false when
    nothing has come since, good or bad.
    """
    published = noted.published
    return published is None or look.now - published / 1e6 <= RECENT_SECONDS


class LatestNoted(NotedStatus):
    """What was noted, and when the last message was ``published``, microseconds (None: not known)."""

    published: int | None = None


def latest_noted(plan: Plan, workers: Iterable[Health]) -> dict[int, LatestNoted]:
    """What the feeder has noted of each source partition, as the leaf says that has heard last of it, and
    when the last message was ``published``, microseconds (None: not known).
    """
    leaves = {node.name for node in plan.nodes if node.is_leaf}  # others are not told of it
    found: dict[int, tuple[tuple[int, int, int], LatestNoted]] = {}
    for health in workers:
        if health.worker_id.rpartition(".")[0] not in leaves:
            continue
        for p in progress_of(health):
            rank = p.major, p.minor, p.refused + p.late
            held = found.get(p.partition)
            if held is None or rank > held[0]:
                noted = {} if p.noted is None else p.noted.model_dump()
                found[p.partition] = rank, LatestNoted(**{**noted, "published": p.published})
    return {partition: noted for partition, (_, noted) in found.items()}


def unseen_columns(plan: Plan, workers: Sequence[Health]) -> Iterator[Notice]:
    """Columns of which every leaf that needs them says that no event has had a value.

    None while a leaf of some partition is not among ``workers``, does not answer, or is not known to have had
    the past: it may hold the values that the others lack.
    """
    events = sum(noted.accepted for noted in latest_noted(plan, workers).values())
    if not events:
        return
    source = plan.metric.source
    leaves = {node.name: node for node in plan.nodes if node.is_leaf}
    complete = {h.worker_id for h in workers if h.status and not h.status.incomplete}
    if not complete.issuperset(worker_id(name, label) for name in leaves for label in partition_labels(plan)):
        return
    seen: dict[str, bool] = {}
    for health in workers:
        node, state = leaves.get(health.worker_id.rpartition(".")[0]), state_of(health)
        if node is not None and health.status is not None and health.status.state is not None:
            for column in node.columns:
                unseen = column in state.unseen_columns
                seen[column] = seen.get(column, False) or not unseen
    for column in sorted(name for name, known in seen.items() if not known):
        spec = source.columns.get(column)
        path = column if spec is None else spec.path or column
        yield Notice(
            f"none of {events:,} events of topic {source.topic} had a value at {path!r}, which the "
            "expression uses; is the name right?"
        )
