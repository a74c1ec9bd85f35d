"""The model of conditions: what can be wrong with a metric, in states ordered by how bad they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

State = Literal[
    "down",  # a worker or the catalog is not there, or nobody runs it
    "unreachable",  # a server does not answer
    "failing",  # something fails again and again
    "gap",  # messages are missing: answers lack them for good
    "refusing",  # what comes is refused
    "stalled",  # events wait and no feeder sends any
    "paused",  # a worker takes nothing more and says why
    "lagging",  # events wait
    "busy",
    "fetching",
    "subscribing",
    "waiting for keys",
    "ok",
]
WORST_FIRST: tuple[State, ...] = get_args(State)
# Nothing is wrong with a source whose keys have not come yet.
WELL: tuple[State, ...] = ("ok", "waiting for keys")
_DURATION = re.compile(r"\b\d+(\.\d+)? s\b")


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that makes answers of a metric wrong, old or impossible.

    ``worker``: the worker that it is about, where it is about one.
    """

    state: State
    cause: str
    worker: str | None = None

    def __str__(self) -> str:
        return f"{self.worker}: {self.cause}" if self.worker else self.cause


def together(conditions: Iterable[Condition]) -> list[str]:
    """``conditions`` in words, in their order; workers of which the same is said have one line.

    Durations may differ: what is said then is of the first of them.
    """
    groups: dict[tuple[str, str], list[Condition]] = {}
    for one in conditions:
        groups.setdefault((one.state, _DURATION.sub("", one.cause)), []).append(one)
    said = []
    for some in groups.values():
        workers = list(dict.fromkeys(one.worker for one in some if one.worker))
        first = some[0]
        if len(workers) < 2:
            said.append(f"{first.state}: {first}")
        else:
            who = f"{len(workers)} workers, such as {workers[0]} and {workers[1]}"
            who = " and ".join(workers) if len(workers) == 2 else who
            said.append(f"{first.state}: {who}: {first.cause}")
    return said


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that is worth knowing and makes no answer wrong."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class MetricHealth:
    """How a metric is. ``conditions``: the worst first, empty when all is well; ``notices`` beside them."""

    metric: str
    conditions: tuple[Condition, ...] = ()
    notices: tuple[Notice, ...] = ()

    @classmethod
    def of(cls, metric: str, found: list[Condition | Notice]) -> MetricHealth:
        """Put what checks have found into order, each thing once."""
        conditions = dict.fromkeys(one for one in found if isinstance(one, Condition))
        notices = dict.fromkeys(one for one in found if isinstance(one, Notice))
        ordered = sorted(conditions, key=lambda one: WORST_FIRST.index(one.state))
        return cls(metric, tuple(ordered), tuple(notices))

    @property
    def state(self) -> State:
        """That of the worst condition, ``ok`` when there is none."""
        return self.conditions[0].state if self.conditions else "ok"

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.state in WELL

    @property
    def causes(self) -> list[str]:
        """All conditions in words that have some, the worst first (``together``)."""
        return together(one for one in self.conditions if one.cause)

    @property
    def cause(self) -> str | None:
        """The worst condition in words that has some, None when there is none."""
        return next((str(one) for one in self.conditions if one.cause), None)
