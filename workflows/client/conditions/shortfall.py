"""The shortfall of result workers: how far they are behind the event processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from timeline_workers.events.incarnation import Mark
from workflows.client.worker_health import Health

from .statuses import furthest, marks_of

# Less is no delay worth asking the broker about.
NEAR_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A source partition in which result worker ``worker`` has applied everything up to ``own`` (None:
    nothing), and some worker that it rests on has come to ``furthest``.
    """

    worker: str
    partition: int
    own: Mark | None
    furthest: Mark

    @property
    def most_seconds(self) -> float | None:
        """Between the publish times of the two places; None where that is not known. What is lacking may be
        much younger than the first: the topic may have been silent.
        """
        if self.own is None or self.own.published is None or self.furthest.published is None:
            return None
        return max(0.0, (self.furthest.published - self.own.published) / 1e6)

    @property
    def reached(self) -> tuple[int, int]:
        """What is the lesser the further behind it is."""
        return (-1, -1) if self.own is None else self.own.rank()

    def is_near(self, now: float) -> bool:
        """Whether it cannot be behind by more than a little."""
        published = None if self.own is None else self.own.published
        return published is not None and now - published / 1e6 <= NEAR_SECONDS


def shortfalls(workers: Sequence[Health], results: Sequence[Health], *, by_label: bool) -> list[Shortfall]:
    """Of each partition the greatest shortfall of any of ``results`` that answers, of the metric with these
    ``workers``.

    ``by_label``: trees of workers are of one key each, and are told of its events only.
    """
    found: dict[int, Shortfall] = {}
    everywhere = furthest(workers)
    for health in results:
        if health.status is None:
            continue
        label = health.worker_id.rpartition(".")[2]
        reached = (
            furthest(w for w in workers if w.worker_id.rpartition(".")[2] == label)
            if by_label
            else everywhere
        )
        own = marks_of(health)
        for partition, at in reached.items():
            short = Shortfall(health.worker_id, partition, own.get(partition), at)
            held = found.get(partition)
            if short.reached < at.rank() and (held is None or short.reached < held.reached):
                found[partition] = short
    return list(found.values())


def places_to_ask(short: Sequence[Shortfall], reached: Mapping[int, Mark], now: float) -> dict[int, Mark]:
    """Per partition the place after which the first message is the first that some result lacks: empty where
    nothing lacks for long. ``reached``: the furthest places.
    """
    if all(one.is_near(now) for one in short):
        return {}
    places = dict(reached)
    for one in short:
        places[one.partition] = Mark(-1, -1, None) if one.own is None else one.own
    return places
