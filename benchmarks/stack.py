"""Our own system for benchmarks: embedded servers, worker processes and a feeder, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from temporalio.client import Client

from deploy.pulsar_standalone import standalone
from producer.event import Event
from producer.send import Stored, to_pulsar
from timeline_workers.cli.dev import environment_of
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import Plan, partition_labels, plan, worker_id, worker_name
from timeline_workers.servers.embedded.embedded_servers import Addresses, embedded, guarded
from timeline_workers.servers.temporal.temporal_client import connect
from workflows.client.ask import apply, ask

# Every question costs Temporal and a worker a few milliseconds, which would count as ours.
POLL_SECONDS = 0.1
STOP_SECONDS = 60
TOPIC = "bench"
Place = tuple[int, int]
"""A place in the topic's one partition, as workers tell it in `status`: (major, minor)."""
NOWHERE: Place = (-1, -1)
ANYWHERE: Place = (0, 0)
"""Reached with the first event."""


def metric(
    name: str, expression: str, columns: Iterable[str], *, lateness: str = "1h", **fields: Any
) -> Metric:
    """A metric over string columns of the events that ``workloads`` writes as JSON lines."""
    source = {
        "topic": TOPIC,
        "key": "key",
        "time": "time",
        "time_unit": "us",
        "columns": dict.fromkeys(columns, "string"),
        "allowed_lateness": lateness,
        "partitions": 1,
    }
    return Metric.model_validate({"name": name, "source": source, "expression": expression, **fields})


class Stack:
    """Servers, and the programs started on them; ``close`` stops everything and removes the data.

    ``temporal``: the address of a Temporal server that runs already; None: the embedded one. ``real_broker``:
    the standalone broker of the Apache distribution in place of the embedded one. Raises
    PulsarUnavailableError when there is none to be had.
    """

    def __init__(self, *, temporal: str | None = None, real_broker: bool = False) -> None:
        self._stack = ExitStack()
        scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="timeline-bench-"))
        self.home = Path(scratch)
        self.servers: Addresses = self._stack.enter_context(
            embedded(self.home / "data", temporal_port=0, ui_port=0, pulsar_port=0)
        )
        if temporal is not None:
            self.servers = self.servers.model_copy(update={"temporal": temporal})
        if real_broker:
            broker = self._stack.enter_context(standalone(self.home / "pulsar"))
            self.servers = self.servers.model_copy(update={"pulsar": broker.url})
        os.environ.update(environment_of(self.servers))

    async def client(self) -> Client:
        """A client of the Temporal server."""
        return await connect(self.servers.temporal)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run ``python -m ARGUMENTS`` until ``close``, or until this process is gone, however it went; its
        output is in ``programs.log``. The process is a guard's; ``kill`` kills the program itself.
        """
        command = guarded([sys.executable, "-m", *arguments], STOP_SECONDS / 2)
        with (self.home / "programs.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self._stack.callback(_stop, process)
        return process

    def start_workers(self) -> list[subprocess.Popen[bytes]]:
        """Run a worker process for every core."""
        return [self.start("timeline_workers", "worker") for _ in range(cores())]

    def start_feeder(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run the feeder."""
        return self.start("feeder", *arguments)

    def publish(self, lines: Iterable[tuple[str, bytes]]) -> Stored:
        """Send (key, JSON) to the topic and return where the last one is."""
        return to_pulsar((Event(key, 0.0, payload) for key, payload in lines), TOPIC)

    def close(self) -> None:
        """Stop everything."""
        self._stack.close()


def cores() -> int:
    """How many cores there are for us."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill (-9) a program that ``Stack.start`` has started."""
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def apply_metric(client: Client, wanted: Metric) -> Plan:
    """Apply a metric and return its plan when its workers run."""
    await apply(client, wanted)
    return plan(wanted)


def result_workers(planned: Plan) -> list[str]:
    """The workers that answer for the metric."""
    name = worker_name(planned, planned.result)
    return [worker_id(name, label) for label in partition_labels(planned)]


async def reached(client: Client, planned: Plan) -> Place:
    """How far the result workers are; ``NOWHERE`` before the first event."""
    found = []
    for worker in result_workers(planned):
        status = await client.get_workflow_handle(worker).query("status")
        found += [(p["major"], p["minor"]) for p in (status["state"] or {}).get("progress", [])]
    return min(found, default=NOWHERE)


def place_of(stored: Stored) -> Place:
    """The place that ``reached`` gives when everything stored has been applied."""
    return max(stored.last.values())


async def until(client: Client, planned: Plan, place: Place) -> None:
    """Return when every result worker has applied everything up to ``place``."""
    while await reached(client, planned) < place:
        await asyncio.sleep(POLL_SECONDS)


async def answers(client: Client, planned: Plan, at: int) -> list[tuple[str, int]]:
    """The value of every key at ``at``, in microseconds."""
    asked = [{"at": at, "unit": "us"}]
    return [
        (str(answer["key"]), round(answer["value"] * 1_000_000))
        async for answer in ask(client, planned, planned.result, "value_at", asked)
    ]
