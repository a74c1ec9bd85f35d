"""Events that wait in the topic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .look import Applied, Look, progress_of, state_of
from .model import Condition

LAG_SECONDS = 5.0


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Whether an event has waited for longer than it should."""
    topic, lag = applied.metric.source.topic, lag_of(look, applied)
    if look.waiting.get(topic) is not None and lag is not None and lag > LAG_SECONDS:
        yield Condition(
            "lagging",
            f"an event of topic {topic} has waited for {lag:.0f} s; is the feeder running? "
            "(`python -m feeder`)",
        )


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
    if newest is None or reached is None:
        return 0.0
    return round(max(0.0, (newest - reached) / 1e6), 1)


def least(numbers: Sequence[int | None]) -> int | None:
    """The least; None while one is not known."""
    known = [n for n in numbers if n is not None]
    return min(known) if known and len(known) == len(numbers) else None


def _greatest(numbers: Iterable[int | None]) -> int | None:
    return max((n for n in numbers if n is not None), default=None)
