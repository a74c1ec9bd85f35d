"""The player on a real uvicorn: a day of events in a minute, and how late frames come at 100 a second.

The server is a process of its own; the client acknowledges every frame at once. A frame's delay is from when
its first record was due, by the speed and the reply that said that it plays, to when the client has it. The
server's memory is looked at twice a second. At the end counts must add up to the events of the day.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from timeline_workers.errors import TimelineError
from timeline_workers.playback.asyncapi import ADDRESS
from timeline_workers.playback.replies import PROTOCOL

from . import day
from .report import machine, versions

MEBIBYTE = 1024 * 1024
PACKAGES = ("uvicorn", "websockets", "starlette", "pydantic", "duckdb", "psycopg")


class WrongCountError(TimelineError):
    """What was played is not what was stored."""


@dataclass(frozen=True, slots=True)
class Played:
    """``seconds`` it lasted, which ``should`` have been so many: buffering comes on top, ``buffered`` times,
    where others have the machine. ``processor``: what the server had of it, seconds. Delays: milliseconds;
    memory in MiB: when it began, and at most. ``sent``: records in frames; ``events``: what frames counted.
    """

    store: str
    what: str
    seconds: float
    should: float
    processor: float
    frames: int
    events: int
    sent: int
    delay_p50: float
    delay_p95: float
    delay_max: float
    buffered: int
    memory_begin: float
    memory_most: float

    def text(self) -> str:
        """A line for people."""
        return (
            f"{self.store:11} {self.what:15} {self.seconds:6.2f} s of {self.should:.2f} "
            f"({self.processor:.1f} s of a processor)  {self.frames} frames "
            f"{self.events:9,} events ({self.sent:,} sent)  delay {self.delay_p50:.1f} ms p50 "
            f"{self.delay_p95:.1f} p95 {self.delay_max:.0f} max  buffering {self.buffered}  "
            f"{self.memory_begin:.0f} to {self.memory_most:.0f} MiB"
        )


async def play(
    store: str, what: str, address: str, pid: int, start: float, end: float, speed: float
) -> Played:
    """Play a window of the day to its end; what came."""
    async with connect(address, subprotocols=[Subprotocol(PROTOCOL)], max_size=None) as client:
        await say(client, action="open", id=1, channels=[{"channel": "ev", "events": day.NAME}])
        await until(client, "opened")
        await say(client, action="limits", id=2, frames_per_second=100, records=200)
        await until(client, "state")
        began, spent = memory(pid), processor(pid)
        await say(client, action="play", id=3, start=start, end=end, speed=speed)
        await until(client, "state")
        at = time.perf_counter()
        frames = events = sent = buffered = 0
        delays: list[float] = []
        most, looked = began, at
        while True:
            message = json.loads(await client.recv())
            now = time.perf_counter()
            if message["type"] == "frame":
                await say(client, action="ack", frame=message["frame"])
                part = message["channels"].get("ev")
                frames += 1
                if part is not None:
                    events += part["count"]
                    sent += len(part["records"])
                    delays.append(1e3 * (now - at - (part["records"][0][0] - start) / speed))
            elif message["type"] == "state":
                buffered += message["status"] == "buffering"
                if message["status"] == "ended":
                    break
            elif message["type"] in ("error", "gap"):
                raise WrongCountError(f"{store}: the player says {message}")
            if now - looked > 0.5:
                most, looked = max(most, memory(pid)), now
        delays.sort()
        p50, p95 = (delays[int(share * (len(delays) - 1))] for share in (0.5, 0.95))
        return Played(
            store,
            what,
            now - at,
            (end - start) / speed,
            processor(pid) - spent,
            frames,
            events,
            sent,
            p50,
            p95,
            delays[-1],
            buffered,
            began / MEBIBYTE,
            max(most, memory(pid)) / MEBIBYTE,
        )


async def say(client: ClientConnection, **fields: Any) -> None:
    """Send a request."""
    await client.send(json.dumps(fields))


async def until(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The first message of a kind. Raises WrongCountError for an error instead."""
    while True:
        message: dict[str, Any] = json.loads(await client.recv())
        if message["type"] == "error":
            raise WrongCountError(f"the player says {message['message']}")
        if message["type"] == kind:
            return message


def memory(pid: int) -> int:
    """A process's memory, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor(pid: int) -> float:
    """What a process has had of processors, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(
    store: str, address: str, events: int, day_seconds: float, short_seconds: float
) -> list[Played]:
    """Play the whole day in ``day_seconds``, and for ``short_seconds`` what has 1,000 events a second."""
    command = [sys.executable, "-m", "benchmarks.player_server", address]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        where = f"ws://127.0.0.1:{port}{ADDRESS}"
        last = (day.DAY - day.DAY // events) / day.SECOND  # up to the last event
        found = []
        if short_seconds:
            speed = 1000 * last / events
            window = min(short_seconds * speed, last)
            found.append(await play(store, "1,000 events/s", where, server.pid, 0, window, speed))
        if day_seconds:
            speed = last / day_seconds
            found.append(await play(store, "the day", where, server.pid, 0, last, speed))
            if found[-1].events != events:
                raise WrongCountError(f"{store}: {found[-1].events:,} of {events:,} events were counted")
        return found
    finally:
        server.terminate()
        await server.wait()


def run(
    *,
    stores: list[str],
    events: int,
    keys: int,
    day_seconds: float,
    short_seconds: float,
    seed: int,
    tell: Callable[[str], object],
    json_file: Path | None = None,
) -> list[Played]:
    """Play the day from each store."""
    found: list[Played] = []
    for store in stores:
        with ExitStack() as stack:
            where = stack.enter_context(tempfile.TemporaryDirectory(prefix="player-"))
            if store == "postgresql":
                from tests.history.stores import postgres_server

                where = stack.enter_context(postgres_server())
            tell(f"{store}: {events:,} events are stored")
            address = asyncio.run(day.make(store, where, events, keys, seed))
            for played in asyncio.run(measure(store, address, events, day_seconds, short_seconds)):
                tell(played.text())
                found.append(played)
        if json_file is not None:  # after each: it takes minutes
            _write(json_file, found, {"events": events, "keys": keys, "seed": seed})
    return found


def _rounded(one: Played) -> dict[str, Any]:
    said = asdict(one)
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in said.items()}


def _write(file: Path, found: list[Played], parameters: dict[str, int]) -> None:
    said = {
        "benchmark": "player",
        "machine": machine(),
        "versions": versions(PACKAGES),
        "parameters": parameters,
        "played": [_rounded(one) for one in found],
    }
    file.write_text(json.dumps(said, indent=2) + "\n")
