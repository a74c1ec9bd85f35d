"""A timeline worker in simulated time: the messages it receives, how long its tasks take, and when it
continues as new.

The rules are those of ``workflows.processor`` and ``workflows.durable.carry``; what messages
weigh is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from timeline_workers.capacity import limits
from timeline_workers.capacity.costs import Costs, Engine
from timeline_workers.capacity.traffic import EVENTS_PER_ACTIVITY, EVENTS_PER_TASK

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Tally:
    """What workers have done. ``most_*``: of a single run, or of a single workflow task."""

    signals: int = 0
    told: int = 0
    tasks: int = 0
    history_events: float = 0.0
    history_bytes: float = 0.0
    runs: int = 0
    most_events: float = 0.0
    most_bytes: float = 0.0
    most_signals: int = 0
    most_waiting: int = 0
    most_message: float = 0.0


@dataclass(slots=True)
class _Run:
    """The run of a worker that is under way."""

    events: float
    bytes: float
    signals: int = 0


@dataclass(slots=True)
class Worker:
    """One worker: ``state`` packed bytes, ``subscribers`` of them. ``begun``: how far its first run has come,
    as a share, for workers do not begin at one instant.
    """

    costs: Costs
    engine: Engine
    leaf: bool
    subscribers: int
    state: float
    begun: float
    tally: Tally
    inline: bool = field(init=False)
    handover: int = field(init=False)
    run: _Run = field(init=False)

    def __post_init__(self) -> None:
        self.state = min(self.state, limits.STATE_BYTES)
        self.inline = self.state <= limits.INLINE_STATE_BYTES
        parts = 0 if self.inline else int(-(-self.state // limits.STATE_PART_BYTES))
        self.handover = parts * EVENTS_PER_ACTIVITY
        self._begin()
        enough = max(limits.SUGGESTED_BYTES, 0 if self.inline else self._enough())
        self.run.bytes += self.begun * (enough - self.run.bytes)

    def _begin(self) -> None:
        self.run = _Run(EVENTS_PER_TASK + self.handover, self.costs.history_per_run + self.state)

    def _enough(self) -> float:
        return min(limits.WORK_PER_STATE * self.state, limits.HISTORY_LIMIT_BYTES - self.state)

    def hear(self, at: Floats, events: Floats, drawn: np.random.Generator) -> tuple[Floats, Floats]:
        """Take messages that come at ``at`` and tell of ``events`` each; when its subscribers are told, and
        of how many events.
        """
        times, about = at.tolist(), events.tolist()
        ends: list[float] = []
        told: list[float] = []
        end, place = -1.0, 0
        while place < len(times):
            at_rest = end < times[place]
            start = times[place] if at_rest else end
            first = place
            place += 1
            while not at_rest and place < len(times) and times[place] <= start:
                place += 1
            end = start + self.costs.round_seconds * drawn.uniform(0.5, 1.5)
            self._task(about[first:place])
            ends.append(end)
            told.append(sum(about[first:place]))
        return np.array(ends), np.array(told)

    def _task(self, about: Sequence[float]) -> None:
        tally, run, weights, overhead = self.tally, self.run, self.engine.bytes, self.costs.history_per_event
        if self.leaf:
            per_event, each = weights.leaf_per_event / self.engine.leaves, weights.leaf_per_message
        else:
            per_event, each = weights.edge_per_event / self.engine.edges, weights.edge_per_message
        size = sum(about) * per_event + len(about) * each
        events = len(about) + EVENTS_PER_TASK + self.subscribers
        run.events += events
        run.bytes += size + events * overhead
        run.signals += len(about)
        tally.signals += len(about) * self.leaf
        tally.told += self.subscribers
        tally.tasks += 1
        tally.history_events += events
        tally.history_bytes += size + events * overhead
        tally.most_waiting = max(tally.most_waiting, len(about))
        tally.most_message = max(tally.most_message, max(about) * per_event + each)
        suggested = run.events >= limits.SUGGESTED_EVENTS or run.bytes >= limits.SUGGESTED_BYTES
        longest = run.events >= limits.LONGEST_HISTORY or run.signals >= limits.MOST_SIGNALS
        worked = self.inline or run.bytes >= self._enough() or longest
        if suggested and worked:
            self._continue_as_new()

    def _continue_as_new(self) -> None:
        tally, run = self.tally, self.run
        run.events += self.handover
        run.bytes += 0.0 if self.inline else self.state
        tally.runs += 1
        tally.most_events = max(tally.most_events, run.events)
        tally.most_bytes = max(tally.most_bytes, run.bytes)
        tally.most_signals = max(tally.most_signals, run.signals)
        tally.history_events += self.handover
        tally.history_bytes += 0.0 if self.inline else self.state
        self._begin()
        tally.history_events += self.run.events
        tally.history_bytes += float(self.run.bytes)
