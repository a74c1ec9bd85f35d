"""The real thing for tests: embedded servers, a worker and a feeder as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulsar
from temporalio.client import Client

from deploy.pulsar_standalone import Broker
from producer.event import Event
from producer.send import Stored, to_pulsar
from timeline_workers.cli.dev import environment_of
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import partition_labels, plan, worker_id
from timeline_workers.process.supervisor import Supervisor
from timeline_workers.servers.embedded.embedded_servers import PATIENCE_SECONDS, Addresses, embedded
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar
from timeline_workers.servers.temporal.temporal_client import connect
from workflows.messages import DRIVER_ID, DriverInput, DriverResult

DEADLINE = 60.0


@dataclass
class Stack:
    """Servers, which ``supervisor`` keeps running, and the programs that were started on them. ``broker``:
    the real Pulsar broker, or None.
    """

    addresses: Addresses
    logs: Path
    supervisor: Supervisor
    broker: Broker | None = None
    client: Client | None = None
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Run ``python -m ARGUMENTS`` in the background as ``name``."""
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={
                    **os.environ,
                    **environment_of(self.addresses),
                    # Its lines are not ours, and would be between them.
                    "TIMELINE_PULSAR_LOG": str(self.logs / "pulsar-client.log"),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes[name] = process
        return process

    def start_worker(self) -> None:
        self.start("worker", "timeline_workers", "worker")

    def start_feeder(self, *arguments: str) -> None:
        self.start("feeder", "feeder", *arguments)

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the program and return its exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(DEADLINE)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m ARGUMENTS`` to its end, as in a terminal of its own."""
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            env={**os.environ, **environment_of(self.addresses)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()

    async def temporal(self) -> Client:
        if self.client is None:
            self.client = await connect(self.addresses.temporal)
        return self.client

    async def apply(self, metric: Metric, continue_as_new_after: int | None = None) -> DriverResult:
        """Apply a metric and return when its workers run; they begin a new run after so many messages."""
        client = await self.temporal()
        async with asyncio.timeout(DEADLINE):
            return await client.execute_workflow(
                "TimelineDriver",
                DriverInput(metric=metric, continue_as_new_after=continue_as_new_after),
                id=DRIVER_ID.format(metric=metric.name),
                task_queue="timeline",
                result_type=DriverResult,
            )

    def send(self, topic: str, events: Iterable[Event]) -> Stored:
        return to_pulsar(events, topic, url=self.addresses.pulsar)

    async def statuses(self, metric: Metric, node: str | None = None) -> dict[str, dict[str, Any]]:
        """The status of every worker of the result node, or of ``node``."""
        planned = plan(metric)
        client = await self.temporal()
        found = {}
        for label in partition_labels(planned):
            worker = worker_id(node or planned.result.name, label)
            found[worker] = await client.get_workflow_handle(worker).query("status")
        return found

    async def applied(self, metric: Metric, stored: Stored) -> None:
        """Return when every result worker has applied what the broker has stored."""

        def has_all(status: Mapping[str, Any]) -> bool:
            reached = {p["partition"]: (p["major"], p["minor"]) for p in status["state"]["progress"]}
            return all(reached.get(p, (-1, -1)) >= at for p, at in stored.last.items())

        async def check() -> bool:
            return all(map(has_all, (await self.statuses(metric)).values()))

        await eventually(check)

    async def ask(self, metric: Metric, key: str, question: str, details: Mapping[str, Any]) -> Any:
        from timeline_workers.plan.physical import partition_of

        worker = worker_id(plan(metric).result.name, partition_of(key, metric.source))
        client = await self.temporal()
        return await client.get_workflow_handle(worker).query(question, {"key": key, **details})

    def dead_letters(self, topic: str, count: int) -> list[pulsar.Message]:
        """The first ``count`` dead letters of ``topic``."""
        client = connect_pulsar(self.addresses.pulsar)
        try:
            reader = client.create_reader(f"{topic}-dead-letter", pulsar.MessageId.earliest)
            found: dict[bytes, pulsar.Message] = {}  # the embedded broker delivers some entries twice
            while len(found) < count:
                letter = reader.read_next(timeout_millis=int(DEADLINE * 1000))
                found[letter.message_id().serialize()] = letter
            return list(found.values())
        finally:
            client.close()


async def eventually(check: Callable[[], Any], within: float = DEADLINE) -> None:
    """Return when ``await check()`` is true; AssertionError after ``within`` seconds."""
    async with asyncio.timeout(within):
        while not await check():
            await asyncio.sleep(0.05)


@contextmanager
def running_stack(
    directory: Path, topic_partitions: int = 1, broker: Broker | None = None, history: str | None = None
) -> Iterator[Stack]:
    """Servers with their data in ``directory``; every program started on them is killed at the end.

    Topics come into being with ``topic_partitions``. ``broker`` None: the embedded one; else this one, which
    is left without topics. ``history``: the address of a history store, which programs then write to.
    """
    supervisor = Supervisor(tell=lambda line: sys.stderr.write(f"{line}\n"), patience=PATIENCE_SECONDS)
    with ExitStack() as stack:
        addresses = stack.enter_context(
            embedded(
                directory,
                temporal_port=0,
                ui_port=0,
                pulsar_port=0,
                topic_partitions=topic_partitions,
                supervisor=supervisor,
                history=history,
            )
        )
        if broker is not None:
            addresses = addresses.model_copy(update={"pulsar": broker.url})
            broker.admin("POST", "namespaces/public/default/autoTopicCreation", _creation(topic_partitions))
            stack.callback(broker.delete_topics)
        made = Stack(addresses, directory / "logs", supervisor, broker)
        try:
            yield made
        finally:
            for process in made.processes.values():
                process.kill()
                process.wait()


def _creation(partitions: int) -> dict[str, Any]:
    """The policy by which a real broker makes topics as the embedded one does."""
    if partitions == 1:
        return {"allowAutoTopicCreation": True, "topicType": "non-partitioned"}
    return {
        "allowAutoTopicCreation": True,
        "topicType": "partitioned",
        "defaultNumPartitions": partitions,
    }


def event(key: str, time: float, **columns: Any) -> Event:
    """An event as the tests' sources declare them."""
    return Event(key, time, json.dumps({"id": key, "t": time, **columns}).encode())
