"""The servers and programs of a run: each can be killed and comes back on the same data and ports."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from deploy.cluster import Cluster, prepare
from deploy.cluster_ports import free_ports
from deploy.pulsar_standalone import Broker, standalone
from tests.chaos.programs import Program, module
from timeline_workers.servers.embedded import embedded_servers as embedded
from timeline_workers.servers.embedded.embedded_servers import HOST, Addresses

TOPIC = "chaos"
TOPIC_PARTITIONS = 4
LOOK_SECONDS = 0.1


@dataclass
class Stack:
    """``servers`` in the order to start them, ``workers`` and ``feeders``; ``environment``: how these find
    the servers; ``partitions``: of the topic. ``needed``: the servers without which no worker can be asked.
    ``cured``: what was sick and has been started again, how often.
    """

    directory: Path
    servers: list[Program]
    needed: list[Program]
    environment: Mapping[str, str]
    pulsar_url: str
    partitions: int = TOPIC_PARTITIONS
    workers: list[Program] = field(default_factory=list)
    feeders: list[Program] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    cured: dict[str, int] = field(default_factory=dict)

    @property
    def programs(self) -> dict[str, Program]:
        """Everything that can be killed, by name."""
        return {p.name: p for p in (*self.servers, *self.workers, *self.feeders)}

    def add_programs(self, workers: int, feeders: int) -> None:
        """Make the worker and feeder processes; they are not started yet."""
        for i in range(workers):
            self.workers.append(self.program(f"worker-{i}", module("timeline_workers", "worker")))
        for i in range(feeders):
            self.feeders.append(self.program(f"feeder-{i}", module("feeder")))

    def program(self, name: str, command: Sequence[str]) -> Program:
        """A program that finds the servers."""
        return Program(name, command, self.directory / "logs" / f"{name}.log", self.environment)

    async def start(self) -> None:
        """Start the servers, one after another, then the workers."""
        for program in (*self.servers, *self.workers):
            await program.up()

    async def supervise(self) -> None:
        """Start again, until cancelled, what has ended by itself or is sick: as its owner does elsewhere."""
        while True:
            for program in self.programs.values():
                if program.sick is not None and program.sick():
                    program.kill()
                    self.cured[program.name] = self.cured.get(program.name, 0) + 1
                if program.process is not None and not program.running and program.name not in self.away:
                    program.start()
            await asyncio.sleep(LOOK_SECONDS)

    async def kill(self, name: str, away: float) -> None:
        """Kill -9, and bring it back ``away`` seconds later; one that is away already is killed once it runs.

        Returns when it is ready again.
        """
        program = self.programs[name]
        while name in self.away or not program.kill():
            await asyncio.sleep(LOOK_SECONDS / 2)
        self.away.add(name)
        try:
            await asyncio.sleep(away)
        finally:
            self.away.discard(name)
        await program.up()


@asynccontextmanager
async def stack_of(
    directory: Path, *, real_broker: bool, cluster: bool, partitions: int = TOPIC_PARTITIONS
) -> AsyncIterator[Stack]:
    """The servers of a run in ``directory``, not started yet: Temporal's dev server over a file, or its four
    services over PostgreSQL; the embedded broker, or Apache Pulsar; a topic of so many ``partitions``.

    At the end everything that was started is stopped, however the block is left. Raises
    PulsarUnavailableError or ClusterUnavailableError where these cannot be had.
    """
    directory = directory.absolute()
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        ui, temporal, pulsar, admin = free_ports(4)
        if cluster:
            made = prepare(directory / "cluster")
            servers, address = cluster_services(made), made.address
            needed = [program for program in servers if program.name != "temporal-worker"]
        else:
            servers, address = [dev_server(directory, temporal, ui)], f"{HOST}:{temporal}"
            needed = list(servers)
        url = f"pulsar://{HOST}:{pulsar}"
        if real_broker:
            with_broker = standalone(directory / "pulsar", port=pulsar, admin_port=admin)
            broker = await asyncio.to_thread(stack.enter_context, with_broker)
            servers.append(RealBroker.of(broker, partitions))
        else:
            # The directory looks as `timeline dev` leaves it, with its lock held: so feeders take turns.
            stack.enter_context(embedded._exclusive(directory))
            addresses = Addresses(temporal=address, pulsar=url, ui="", pid=os.getpid(), data_dir=directory)
            (directory / "addresses.json").write_text(addresses.model_dump_json())
            servers.append(embedded_broker(directory, pulsar, partitions))
        running = Stack(
            directory, servers, needed, settings(address, url, directory), url, partitions=partitions
        )
        stack.callback(stop_all, running)
        yield running


def settings(temporal: str, pulsar: str, directory: Path) -> dict[str, str]:
    """The environment of every program of a run."""
    return {"TEMPORAL_ADDRESS": temporal, "TIMELINE_PULSAR_URL": pulsar, "TIMELINE_DATA_DIR": str(directory)}


def stop_all(stack: Stack) -> None:
    """Stop what runs: feeders and workers first, then the servers, the last one started first."""
    for program in (*stack.feeders, *stack.workers, *reversed(stack.servers)):
        program.stop()


def dev_server(directory: Path, port: int, ui_port: int) -> Program:
    """Temporal's dev server, its data in a file."""
    for part in ("temporal", "logs"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    binary = embedded._temporal_binary()
    command = embedded._temporal_command(binary, directory, port, ui_port)

    async def serves() -> bool:
        return await asyncio.to_thread(embedded._serves, binary, port)

    return Program("temporal", command, directory / "logs" / "temporal.log", ready=serves)


def cluster_services(cluster: Cluster) -> list[Program]:
    """PostgreSQL and Temporal's services, in the order to start them."""
    programs = []
    for service in cluster.services:
        name = service.name if service.name == "postgres" else f"temporal-{service.name}"
        ready = partial(asyncio.to_thread, service.ready)
        programs.append(Program(name, service.command, service.log, ready=ready))
    programs[0].once = cluster.create_schemas
    programs[-1].once = cluster.create_namespace
    return programs


def embedded_broker(directory: Path, port: int, partitions: int = TOPIC_PARTITIONS) -> Program:
    """The embedded broker."""
    (directory / "pulsar").mkdir(parents=True, exist_ok=True)
    command = embedded._pulsar_command(directory, port, partitions)
    log = directory / "logs" / "broker.log"
    stuck = embedded.StuckConsumers(log)
    return Program("broker", command, log, ready=lambda: accepts(port), sick=stuck.noticed)


class RealBroker(Program):
    """Apache Pulsar; its topic is made when it first serves."""

    broker: Broker
    partitions: int

    @classmethod
    def of(cls, broker: Broker, partitions: int) -> RealBroker:
        """The program that runs ``broker``, which runs already."""
        made = cls("broker", [], broker.log, ready=partial(asyncio.to_thread, broker.serves))
        made.broker, made.partitions = broker, partitions
        made.process = broker.process
        made.once = made._create_topic
        return made

    def _create_topic(self) -> None:
        """Unless an earlier run on the same data has."""
        path = f"persistent/public/default/{TOPIC}"
        if f"persistent://public/default/{TOPIC}" not in self.broker.admin(
            "GET", path.rpartition("/")[0] + "/partitioned"
        ):
            self.broker.create_topic(TOPIC, self.partitions)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it again."""
        return self.broker.launch()


async def accepts(port: int) -> bool:
    """Whether something listens on ``port``."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        return True
    return False
