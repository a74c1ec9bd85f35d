"""Events that wait in the topic, or that have not come to every leaf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from timeline_workers.plan.physical import Plan
from workflows.client.worker_health import Health

from .condition import Condition
from .look import Applied, Look
from .statuses import progress_of

LAG_SECONDS = 5.0
# More than a feeder takes that is started again, or a batch that waits for a worker process that was killed.
STALLED_SECONDS = 30.0


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Whether an event has waited for longer than it should."""
    yield from being_rebuilt(applied.workers)
    topic = applied.metric.source.topic
    idle = unfed_for(applied.plan, applied.workers, look.now)
    yield from waited_for(topic, look.waiting.get(topic), idle, look.now)


def waited_for(topic: str, oldest: int | None, idle: float | None, now: float) -> Iterator[Condition]:
    """Whether the ``oldest`` event that waits, by its publish time, has for too long; ``idle``: see
    ``unfed_for``.
    """
    waited = 0.0 if oldest is None else now - oldest / 1e6
    if waited > STALLED_SECONDS and idle is not None and idle > STALLED_SECONDS:
        yield Condition(
            "stalled",
            f"an event of topic {topic} has waited for {waited:.0f} s, and for {idle:.0f} s no event "
            "processor has been sent anything: no feeder runs (start one with `python -m feeder`), or it "
            "makes no progress (its log says why)",
        )
    elif waited > LAG_SECONDS:
        yield Condition(
            "lagging",
            f"an event of topic {topic} has waited for {waited:.0f} s; is the feeder running? "
            "(`python -m feeder`)",
        )


def unfed_for(planned: Plan, workers: Iterable[Health], now: float) -> float | None:
    """For how many seconds no event processor among ``workers`` has been sent anything. None when that is not
    known: one does not answer, or is of a release that does not say; or when one takes nothing more
    (``paused``), so that the feeder waits for it.
    """
    leaves = {node.name for node in planned.nodes if node.is_leaf}
    last: list[int] = []
    for health in workers:
        if health.worker_id.rpartition(".")[0] not in leaves:
            continue
        status = health.status
        if status is None or status.last_ingest is None or status.paused:
            return None
        last.append(status.last_ingest)
    return now - max(last) / 1e6 if last else None


def being_rebuilt(workers: Iterable[Health]) -> Iterator[Condition]:
    """Leaves that are still fed the past of the topic, which others of ``workers`` have had: new ones,
    and those that were ended by hand.
    """
    furthest: dict[int, tuple[int, int]] = {}
    leaves = []
    for health in workers:
        own = {p.partition: (p.major, p.minor) for p in progress_of(health)}
        for partition, at in own.items():
            furthest[partition] = max(at, furthest.get(partition, at))
        if health.status is not None and health.status.incomplete:
            leaves.append((health.worker_id, own))
    for worker, own in leaves:
        if any(own.get(partition, (-1, -1)) < at for partition, at in furthest.items()):
            yield Condition("lagging", "its backfill from the topic is still running", worker)


def lag_of(look: Look, applied: Applied) -> float | None:
    """Seconds by which the result is behind the topic: how long the oldest event that it lacks has been
    there, however long nothing had come before it. None when that is not known.
    """
    if applied.metric.source.topic not in look.waiting:
        return None
    since = [look.waiting[applied.metric.source.topic], lacking_since(look, applied)]
    known = [published for published in since if published is not None]
    if not known and any(health.status is None for health in applied.results):
        return None
    return round(max(0.0, look.now - min(known) / 1e6), 1) if known else 0.0


def lacking_since(look: Look, applied: Applied) -> int | None:
    """When the oldest event was published that the result lacks and an event processor has, or a little
    earlier; microseconds, None where none lacks.
    """
    if applied.metric.name in look.lacking:
        return look.lacking[applied.metric.name]
    # Where it may be much earlier, the broker was asked; if it could not say, the latest is known to lack.
    marks = [one.own if one.is_near(look.now) else one.furthest for one in applied.shortfalls]
    return min((m.published for m in marks if m is not None and m.published is not None), default=None)


def least(numbers: Sequence[int | None]) -> int | None:
    """The least; None while one is not known."""
    known = [n for n in numbers if n is not None]
    return min(known) if known and len(known) == len(numbers) else None
