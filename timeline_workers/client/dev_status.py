"""Status of `timeline dev`: its processes, and whether the servers and the worker answer."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pulsar
from temporalio.service import RPCError

from timeline_workers.errors import TimelineError
from timeline_workers.servers.embedded.embedded_servers import (
    BROKER,
    PROCESSES,
    TEMPORAL,
    Addresses,
    running_addresses,
)
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar
from timeline_workers.servers.temporal.temporal_client import connect as connect_temporal, temporal_target
from workflows.client.queues import NO_WORKER, queue_of

ANSWER_SECONDS = 4.0
LOOK_SECONDS = 0.3
WORKER, FEEDER = "worker", "feeder"
# Any topic that there may be: asking for its partitions makes none.
_TOPIC = "timeline-status"


@dataclass(frozen=True, slots=True)
class Process:
    """One program under the supervisor of `timeline dev`. ``problem``: why it does not serve; None when it
    does. The other fields are those of ``Supervisor.states``.
    """

    name: str
    state: str
    pid: int | None
    restarts: int
    reason: str | None
    problem: str | None = None


def recorded(directory: Path) -> list[Process]:
    """What the owner of the servers in ``directory`` says of their processes, if anything."""
    with suppress(OSError, ValueError):
        found: list[dict[str, Any]] = json.loads((directory / PROCESSES).read_bytes())
        return [_alive(Process(**one)) for one in found]
    return []


def _alive(process: Process) -> Process:
    if process.state != "running":
        return replace(process, problem=f"{process.state}: {process.reason}")
    try:
        os.kill(process.pid or 0, 0)
    except ProcessLookupError:
        return replace(process, problem=f"process {process.pid} is gone")
    except PermissionError:
        pass  # another user's
    return process


def by_dev(text: str) -> str:
    """``text``, which may ask to start a worker process: where `timeline dev` does that by itself, it says so
    instead.
    """
    if NO_WORKER not in text:
        return text
    running = running_addresses()
    if running is None or temporal_target().address != running.temporal:
        return text
    if not any(one.name == WORKER for one in recorded(running.data_dir)):
        return text  # it runs the servers only
    said = (
        f"`timeline dev`, process {running.pid}, starts it again by itself: ask again in some seconds, and "
        "`timeline dev --status` says how it is"
    )
    return text.replace(NO_WORKER, said)


async def until_polled(addresses: Addresses, given_up: Callable[[], bool]) -> None:
    """Return when a worker process asks these servers for work, or when ``given_up`` says so."""
    while not given_up():
        with suppress(TimelineError, RPCError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                if (await queue_of(await connect_temporal(addresses.temporal, "default"))).pollers:
                    return
        await asyncio.sleep(LOOK_SECONDS)  # between two looks


async def look(addresses: Addresses) -> list[Process]:
    """How each process is, within ten seconds."""
    found = await asyncio.to_thread(recorded, addresses.data_dir)
    temporal, broker = await asyncio.gather(_temporal(addresses), asyncio.to_thread(_broker, addresses))
    problems = {TEMPORAL: temporal[0], BROKER: broker, WORKER: temporal[1]}
    return [p if p.problem is not None else replace(p, problem=problems.get(p.name)) for p in found]


async def _temporal(addresses: Addresses) -> tuple[str | None, str | None]:
    """Why Temporal does not answer, and why the worker gets no work; None where nothing is wrong."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            queue = await queue_of(await connect_temporal(addresses.temporal, "default"))
    except (TimelineError, RPCError, TimeoutError) as error:
        return f"{addresses.temporal} does not answer: {str(error) or 'no answer in time'}", None
    fit = any(poller.build == queue.current for poller in queue.pollers)
    return None, None if fit else queue.nobody(None)


def _broker(addresses: Addresses) -> str | None:
    try:
        client = connect_pulsar(addresses.pulsar, operation_seconds=int(ANSWER_SECONDS), quiet=True)
        try:
            client.get_topic_partitions(_TOPIC)
        finally:
            client.close()
    except (TimelineError, pulsar.PulsarException) as error:
        return f"{addresses.pulsar} does not answer: {error}"
    return None
