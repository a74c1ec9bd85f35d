"""The model's counting part: what goes through the workers of one topic, and how long a run lasts.

``benchmarks.capacity`` simulates the same and holds it against this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import limits
from .costs import Costs, Engine
from .shape import Shape

# A workflow task is scheduled, started and ended.
EVENTS_PER_TASK = 3
# A large state is kept by activities of the run that ends, and fetched by activities of the next.
EVENTS_PER_ACTIVITY = 3


@dataclass(frozen=True, slots=True)
class Flow:
    """Of one worker, a second: messages heard, workflow tasks, messages told to all its subscribers, bytes
    heard; and the packed bytes of its state.
    """

    heard: float
    tasks: float
    told: float
    bytes: float
    state: float

    @property
    def events(self) -> float:
        """History events, but for those of beginning a run."""
        return self.heard + EVENTS_PER_TASK * self.tasks + self.told


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a worker: how long it lasts, its history's events and bytes at the end, and its signals."""

    seconds: float
    events: float
    bytes: float
    signals: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """``leaf_rate``: feeder batches that reach a leaf worker a second; ``touched``: partitions that a batch
    reaches; ``parts``: messages into which a leaf's share of a batch is split, of ``leaf_message`` bytes
    each; ``flows``: of each worker of a partition.
    """

    leaf_rate: float
    touched: float
    parts: int
    leaf_message: float
    flows: tuple[Flow, ...]


def traffic(
    shape: Shape,
    engine: Engine,
    costs: Costs,
    *,
    events: float,
    partitions: int,
    batch: int,
    sessions: float,
    kept: float,
) -> Traffic:
    """The traffic of ``events`` a second in batches of ``batch``; ``sessions`` and ``kept`` events are held,
    over all partitions. Partitions are alike.
    """
    weights = engine.bytes
    touched = partitions * (1 - (1 - 1 / partitions) ** batch)
    share = batch / touched
    per_leaf = weights.leaf_per_event / engine.leaves
    message = share * per_leaf + weights.leaf_per_message
    parts = math.ceil(message / limits.PAYLOAD_BYTES)
    rate = events / batch * touched / partitions * parts
    edge_bytes = events / partitions * weights.edge_per_event / engine.edges
    state = _states(shape, engine, sessions / partitions, kept / partitions)
    flows: list[Flow] = []
    for number, (_, inputs) in enumerate(shape.workers):
        heard = sum(flows[child].tasks for child in inputs) if inputs else rate
        # What comes while a task is under way waits and is taken together.
        tasks = min(rate * shape.rounds[number], 1 / costs.round_seconds)
        told = tasks * sum(number in inputs for _, inputs in shape.workers)
        if inputs:
            heard_bytes = edge_bytes * len(inputs) + heard * weights.edge_per_message
        else:
            heard_bytes = events / partitions * per_leaf + heard * weights.leaf_per_message
        flows.append(Flow(heard, tasks, told, heard_bytes, state[number]))
    return Traffic(rate, touched, parts, message / parts, tuple(flows))


def _states(shape: Shape, engine: Engine, sessions: float, kept: float) -> list[float]:
    """Packed bytes of each worker's state: the largest is one of them, the others share the rest alike."""
    weights = engine.bytes
    whole = sessions * weights.idle + kept * weights.kept
    whole *= len(shape.workers) / engine.workers
    largest = sessions * weights.largest_idle + kept * weights.largest_kept
    count = len(shape.workers)
    if count == 1:
        return [whole]
    largest = max(largest, whole / count)
    return [(whole - largest) / (count - 1)] * (count - 1) + [largest]


def run_of(flow: Flow, costs: Costs) -> Run:
    """One run of a worker with that flow, from its beginning to its continuing as new."""
    state = min(flow.state, limits.STATE_BYTES)  # beyond, the worker compacts or pauses
    inline = state <= limits.INLINE_STATE_BYTES
    chunks = 0 if inline else math.ceil(state / limits.STATE_PART_BYTES)
    first = costs.history_per_run + state
    first_events = EVENTS_PER_TASK + chunks * EVENTS_PER_ACTIVITY
    per_second = flow.bytes + flow.events * costs.history_per_event

    def until_bytes(size: float) -> float:
        return max(size - first, 0.0) / per_second if per_second else math.inf

    def until_events(count: int) -> float:
        return (count - first_events) / flow.events if flow.events else math.inf

    seconds = min(until_bytes(limits.SUGGESTED_BYTES), until_events(limits.SUGGESTED_EVENTS))
    if not inline:
        enough = min(limits.WORK_PER_STATE * state, limits.HISTORY_LIMIT_BYTES - state)
        until_signals = limits.MOST_SIGNALS / flow.heard if flow.heard else math.inf
        longest = min(until_events(limits.LONGEST_HISTORY), until_signals)
        seconds = min(max(seconds, until_bytes(enough)), longest)
    last = 0.0 if inline else state
    return Run(
        seconds,
        first_events + seconds * flow.events + chunks * EVENTS_PER_ACTIVITY,
        first + seconds * per_second + last,
        seconds * flow.heard,
    )
