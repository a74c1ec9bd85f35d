"""The schedule of faults: each with its time, target and duration, drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

QUIET_START = 0.03  # shares of the run without kills: there must be something to disturb,
QUIET_END = 0.05  # and the last victim must have been restarted before the load ends

ON_WORKFLOWS = frozenset({"terminate", "cancel", "reset", "forge"})


@dataclass(frozen=True, slots=True)
class Kill:
    """``target`` gets SIGKILL ``at`` seconds into the load and is started again ``away`` seconds later; or
    what else ``kind`` says (``faults.KINDS``).
    """

    at: float
    target: str
    away: float
    kind: str = "kill"


def draw(
    seed: int,
    seconds: float,
    kills: int,
    targets: Sequence[str],
    kinds: Sequence[str] = ("kill",),
    workflows: Sequence[str] = (),
) -> list[Kill]:
    """Return ``kills`` kills within ``seconds``, in order of time.

    Every target is hit at least once when there are kills enough; the others are drawn freely, so that some
    fall together. Each is of one of ``kinds``; those on workflows fall on any of ``workflows``. The same
    arguments give the same schedule.
    """
    rng = random.Random(f"kills {seed}")
    victims = rng.sample(list(targets), min(kills, len(targets)))
    victims += rng.choices(list(targets), k=kills - len(victims))
    rng.shuffle(victims)
    times = sorted(rng.uniform(QUIET_START * seconds, (1 - QUIET_END) * seconds) for _ in victims)
    others = random.Random(f"kinds {seed}")
    chosen = [others.choice(list(kinds)) for _ in victims]
    victims = [
        others.choice(list(workflows)) if kind in ON_WORKFLOWS else victim
        for kind, victim in zip(chosen, victims, strict=True)
    ]
    # Mostly a supervisor's quick restart, now and then an absence in which things pile up.
    return [
        Kill(round(at, 2), victim, round(rng.choice((0.0, 0.2, 0.5, 1.0, rng.uniform(1, 6))), 2), kind)
        for at, victim, kind in zip(times, victims, chosen, strict=True)
    ]


def pace(seed: int, count: int, seconds: float) -> list[tuple[float, int]]:
    """Return (second, events due by then) points of an uneven load: rushes, crawls and pauses."""
    rng = random.Random(f"pace {seed}")
    steps = max(4, int(seconds / 4))
    weights = [rng.choice((0.0, 0.3, 1.0, 1.0, 1.0, 2.0, 4.0)) for _ in range(steps)]
    weights[0] = weights[-1] = 1.0
    total, due, points = sum(weights), 0.0, []
    for step, weight in enumerate(weights, 1):
        due += weight / total * count
        points.append((seconds * step / steps, round(due)))
    points[-1] = (seconds, count)
    return points
