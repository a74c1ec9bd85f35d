"""Events that wait in the topic, or that have not come to every leaf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..health import Health
from .look import Applied, Look, progress_of, state_of
from .model import Condition

LAG_SECONDS = 5.0


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Whether an event has waited for longer than it should."""
    yield from being_rebuilt(applied.workers)
    topic, lag = applied.metric.source.topic, lag_of(look, applied)
    if look.waiting.get(topic) is not None and lag is not None and lag > LAG_SECONDS:
        yield Condition(
            "lagging",
            f"an event of topic {topic} has waited for {lag:.0f} s; is the feeder running? "
            "(`python -m feeder`)",
        )


def being_rebuilt(workers: Iterable[Health]) -> Iterator[Condition]:
    """Leaves that are still fed the past of the topic, which others of ``workers`` have had: new ones,
    and those that were ended by hand.
    """
    furthest: dict[int, tuple[int, int]] = {}
    leaves = []
    for health in workers:
        own = {p["partition"]: (p["major"], p["minor"]) for p in progress_of(health)}
        for partition, at in own.items():
            furthest[partition] = max(at, furthest.get(partition, at))
        if (health.status or {}).get("incomplete"):
            leaves.append((health.worker_id, own))
    for worker, own in leaves:
        if any(own.get(partition, (-1, -1)) < at for partition, at in furthest.items()):
            yield Condition("lagging", "the feeder still reads the past of the topic for it", worker)


def lag_of(look: Look, applied: Applied) -> float | None:
    """Seconds by which the result is behind the topic: how long the oldest event that it lacks has been
    there. None when that is not known.
    """
    topic = applied.metric.source.topic
    if topic not in look.waiting:
        return None
    oldest = look.waiting.get(topic)
    if oldest is not None:
        return round(max(0.0, look.now - oldest / 1e6), 1)
    newest = _greatest(p.get("published") for h in applied.workers for p in progress_of(h))
    reached = least([state_of(h).get("published") for h in applied.results])
    if any(health.status is None for health in applied.results):
        return None
    if newest is None or reached is None:
        return 0.0
    return round(max(0.0, (newest - reached) / 1e6), 1)


def least(numbers: Sequence[int | None]) -> int | None:
    """The least; None while one is not known."""
    known = [n for n in numbers if n is not None]
    return min(known) if known and len(known) == len(numbers) else None


def _greatest(numbers: Iterable[int | None]) -> int | None:
    return max((n for n in numbers if n is not None), default=None)
