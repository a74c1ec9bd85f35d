"""The capacity model, simulated: real keys through the real planner, batches as the feeder makes them, and
workers that do what ``workflows.processor`` does with them, in simulated time.

Keys are random; what they cost and how long a workflow task takes are the measured costs. What is counted is
held against the closed form (``timeline_workers.capacity``) and against the limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from timeline_workers.capacity import limits
from timeline_workers.capacity.capacity_model import PULSAR_PARTITIONS_PER_FEEDER, choose, need
from timeline_workers.capacity.costs import Costs, measured
from timeline_workers.capacity.shape import Shape
from timeline_workers.capacity.terms import Layout, Load, Need
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import Plan, partition_of, plan

from .simulated_worker import Tally, Worker

Floats = NDArray[np.float64]
_KEYS_AT_ONCE = 200_000
_HEX = 32


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the sessions are, by (topic, feeder, partition): ``count`` of them, ``rate`` events a second."""

    count: NDArray[np.int64]
    rate: Floats

    def skew(self, axes: tuple[int, ...], weights: NDArray[np.generic]) -> float:
        """The greatest sum over ``axes`` against the mean one."""
        sums = weights.sum(axis=axes)
        return float(sums.max() / sums.mean())


def spread(metric: Metric, load: Load, layout: Layout, seed: int) -> Spread:
    """Draw the sessions' keys and rates, and place them: on a topic; on a partition of it as Pulsar's
    producer does, whose feeder is the partition's number modulo their number; on a partition of the metric.

    Rates have a gamma distribution with the load's mean and spread.
    """
    drawn = np.random.default_rng(seed)
    pulsar = layout.feeders * PULSAR_PARTITIONS_PER_FEEDER
    source = metric.source.model_copy(update={"partitions": layout.partitions})
    place = {f"p{number}": number for number in range(layout.partitions)}
    shape = (layout.topics, layout.feeders, layout.partitions)
    count, rate = np.zeros(shape, np.int64), np.zeros(shape)
    for first in range(0, load.sessions, _KEYS_AT_ONCE):
        many = min(_KEYS_AT_ONCE, load.sessions - first)
        text = drawn.bytes(many * _HEX // 2).hex()
        letters = np.frombuffer(text.encode(), np.uint8).reshape(many, _HEX)
        keys = [text[start : start + _HEX] for start in range(0, len(text), _HEX)]
        partition = np.fromiter((place[partition_of(key, source)] for key in keys), np.int64, many)
        hashed = java_hash(letters)
        # Another part of the hash, as somebody does who divides a stream into topics by key.
        topic = (hashed // pulsar) % layout.topics
        index = (topic, hashed % pulsar % layout.feeders, partition)
        shape_of_rates = 1 / load.spread**2 if load.spread else None
        mean = load.events / load.sessions
        rates = (
            np.full(many, mean)
            if shape_of_rates is None
            else drawn.gamma(shape_of_rates, mean / shape_of_rates, many)
        )
        np.add.at(count, index, 1)
        np.add.at(rate, index, rates)
    return Spread(count, rate)


def java_hash(letters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Java's hash of texts of one length, a row of ASCII letters each, without its sign: by which the client
    of Pulsar chooses a partition.
    """
    found = np.zeros(len(letters), np.uint32)
    for column in letters.T:
        found = found * np.uint32(31) + column
    return (found & np.uint32(0x7FFFFFFF)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Check:
    """One figure, by the model and by the simulation; ``within``: by how much they may differ."""

    name: str
    model: float
    simulated: float
    within: float

    @property
    def ratio(self) -> float:
        """The simulation's of the model's."""
        return self.simulated / self.model if self.model else 1.0

    @property
    def holds(self) -> bool:
        """Whether they differ by no more."""
        return abs(self.ratio - 1) <= self.within


@dataclass(frozen=True, slots=True)
class Result:
    """``checks``: the model against the simulation of ``seconds`` of the topic with most events; ``skews``:
    the fullest against the mean; ``tally``: what the workers have done.
    """

    need: Need
    seconds: float
    skews: dict[str, float]
    tally: Tally
    checks: tuple[Check, ...]

    def most(self) -> dict[str, tuple[float, int]]:
        """The greatest run, task and message of the simulation, each with its limit."""
        return {
            "events in a run's history": (self.tally.most_events, limits.RUN_EVENTS),
            "bytes of a run's history": (self.tally.most_bytes, limits.RUN_BYTES),
            "signals in a run": (self.tally.most_signals, limits.RUN_SIGNALS),
            "signals that wait for one workflow task": (self.tally.most_waiting, limits.BUFFERED_SIGNALS),
            "bytes of a message": (self.tally.most_message, limits.BLOB_BYTES),
        }

    def broken(self) -> list[str]:
        """Limits that were passed, in words."""
        return [
            f"{name}: {found:,.0f}, at most {end:,}"
            for name, (found, end) in self.most().items()
            if found > end
        ]


def simulate(planned: Plan, load: Load, layout: Layout, costs: Costs, *, seconds: float, seed: int) -> Result:
    """Draw the sessions, and let the workers of the topic with most events run for ``seconds``."""
    by_model = need(planned, load, layout, costs)
    found = spread(planned.metric, load, layout, seed)
    topic = int(found.rate.sum(axis=(1, 2)).argmax())
    rate, count = found.rate[topic], found.count[topic].sum(axis=0)
    tally = _replay(planned, load, layout, costs, rate, count, by_model, seconds, seed)

    def of_topic(value: float) -> float:
        return float(value * rate.sum() / load.events)

    # The model has tasks that all take equally long. Where they do not, fewer messages meet, in graphs whose
    # paths join; and of few runs a stretch of time has now more, now fewer.
    per_second = {
        "signals to leaves": (by_model.feeder_signals, tally.signals, 0.05),
        "messages between workers": (by_model.edge_messages, tally.told, 0.15),
        "workflow tasks": (by_model.tasks, tally.tasks, 0.15),
        "history events": (by_model.history_events, tally.history_events, 0.15),
        "bytes of history": (by_model.history_bytes, tally.history_bytes, 0.15),
        "new runs": (by_model.runs, tally.runs, 0.2),
    }
    skew = float(count.max() / count.mean())
    checks = [
        Check(f"{name} a second", of_topic(model), done / seconds, within)
        for name, (model, done, within) in per_second.items()
    ]
    checks.append(Check("events of the fullest partition", by_model.skew, found.skew((1,), found.rate), 0.05))
    skews = {
        "sessions of a partition": skew,
        "events of a partition": found.skew((1,), found.rate),
        "events of a feeder": found.skew((2,), found.rate),
        "events of a topic": found.skew((1, 2), found.rate),
    }
    return Result(by_model, seconds, skews, tally, tuple(checks))


def _replay(
    planned: Plan,
    load: Load,
    layout: Layout,
    costs: Costs,
    rate: Floats,
    count: NDArray[np.int64],
    by_model: Need,
    seconds: float,
    seed: int,
) -> Tally:
    """Of one topic: ``rate`` by (feeder, partition), ``count`` sessions by partition."""
    drawn = np.random.default_rng([seed, 1])
    engine = costs.fused if planned.metric.fuse else costs.separate
    source = planned.metric.source.model_copy(update={"partitions": layout.partitions})
    metric = planned.metric.model_copy(update={"source": source})
    shape = Shape.of(plan(metric))
    batches = [_batches(rate[feeder], layout, seconds, drawn) for feeder in range(layout.feeders)]
    tally = Tally()
    share = load.sessions / (layout.topics * layout.partitions)
    for partition in range(layout.partitions):
        arrivals = np.concatenate([times for times, _ in batches])
        events = np.concatenate([cells[:, partition] for _, cells in batches]).astype(float)
        order = np.argsort(arrivals, kind="stable")
        arrivals, events = arrivals[order][events[order] > 0], events[order][events[order] > 0]
        said: list[tuple[Floats, Floats]] = []
        for number, (_, inputs) in enumerate(shape.workers):
            worker = Worker(
                costs,
                engine,
                not inputs,
                sum(number in of for _, of in shape.workers),
                float(by_model.states[number] * count[partition] / share),
                drawn.random(),
                tally,
            )
            if inputs:
                times = np.concatenate([said[child][0] for child in inputs])
                about = np.concatenate([said[child][1] for child in inputs])
                order = np.argsort(times, kind="stable")
                said.append(worker.hear(times[order], about[order], drawn))
            else:
                said.append(worker.hear(arrivals, events, drawn))
    return tally


def _batches(
    rates: Floats, layout: Layout, seconds: float, drawn: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """A feeder's batches: when each is sent, and its events by partition."""
    total = float(rates.sum())
    size = min(layout.batch, max(1, round(total * layout.wait)))
    every = size / total
    times = np.arange(drawn.random() * every, seconds, every)
    return times, drawn.multinomial(size, rates / total, len(times))


def run(
    metric: Path,
    *,
    sessions: int,
    events: float,
    seconds: float,
    topics: int | None,
    seed: int,
    json_file: Path | None,
) -> bool:
    """Simulate and print; whether the simulation agrees with the model and passes no limit."""
    planned, load, costs = plan(load_metric(metric)), Load(sessions, events), measured()
    layout = choose(planned, load, topics=topics)
    result = simulate(planned, load, layout, costs, seconds=seconds, seed=seed)
    console = Console(highlight=False)
    console = Console(width=max(110, console.width), highlight=False)
    console.print("\n".join(told(result)), markup=False)
    if json_file is not None:
        data = {
            "seed": seed,
            "seconds": seconds,
            "layout": asdict(layout),
            "load": asdict(load),
            "skews": result.skews,
            "tally": asdict(result.tally),
            "checks": [asdict(check) | {"holds": check.holds} for check in result.checks],
            "most": result.most(),
            "broken": result.broken(),
        }
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n")
    return not result.broken() and all(check.holds for check in result.checks)


def told(result: Result) -> Iterator[str]:
    """The result, a line each."""
    load, layout, tally = result.need.load, result.need.layout, result.tally
    yield (
        f"{load.sessions:,} sessions, {load.events:,.0f} events/s; {layout.topics} topics, {layout.feeders} "
        f"feeders and {layout.partitions} partitions each; {result.seconds:,.0f} s of the topic with most"
    )
    yield ""
    yield f"{'':40}{'model':>14}{'simulated':>14}{'ratio':>8}{'may differ':>12}"
    for check in result.checks:
        good = "" if check.holds else "  differs"
        yield (
            f"{check.name:40}{check.model:>14,.4g}{check.simulated:>14,.4g}{check.ratio:>8.3f}"
            f"{check.within:>11.0%}{good}"
        )
    yield ""
    yield f"{'fullest against the mean':40}{'simulated':>14}"
    for name, skew in result.skews.items():
        yield f"{name:40}{skew:>14.3f}"
    yield ""
    yield f"{'most in the simulation':40}{'found':>14}{'limit':>14}"
    for name, (found, end) in result.most().items():
        yield f"{name:40}{found:>14,.0f}{end:>14,}"
    yield f"{tally.runs:,} runs ended"
