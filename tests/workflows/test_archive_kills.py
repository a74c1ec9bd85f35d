"""Worker processes are killed at random while keys leave and come back: every answer is as if nothing had
been, on a real Temporal server."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from temporalio.client import Client

from tests.workflows.cluster import CIRR, dev_server, status
from tests.workflows.test_archive import Feed, bounded
from tests.workflows.test_fused import assert_every_node_right
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.plan.physical import all_workers, plan
from workflows.client import ask

pytestmark = pytest.mark.integration

ROWS = [
    *(("playerStateChange", value) for value in ("init", "play", "buffer", "pause", "buffer")),
    *(("cdnChange", value) for value in ("CDN1", "CDN1", "CDN2")),
    ("userAction", "seek"),
]


async def _worker(client: Client) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "timeline_workers", "worker"),
        *("--address", client.service_client.config.target_host),
        stderr=asyncio.subprocess.DEVNULL,
    )


@contextlib.asynccontextmanager
async def killed_at_random(
    client: Client, draw: random.Random, begin: asyncio.Event
) -> AsyncIterator[list[int]]:
    """Two worker processes run, and from ``begin`` on one of them is killed now and then. Gives the list of
    those killed."""
    processes = [await _worker(client) for _ in range(2)]
    killed: list[int] = []

    async def kill() -> None:
        while True:
            await begin.wait()
            await asyncio.sleep(draw.uniform(3, 8))  # the schedule of kills, not a wait for anything
            place = draw.randrange(2)
            processes[place].send_signal(signal.SIGKILL)
            killed.append(await processes[place].wait())
            processes[place] = await _worker(client)

    killing = asyncio.create_task(kill())
    try:
        yield killed
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        for process in processes:
            process.kill()
            await process.wait()


async def _patiently(call: Callable[[], Awaitable[None]]) -> None:
    """Ask again when whoever had the question was killed with it."""
    while True:
        try:
            return await call()
        except ConnectionFailedError:
            continue


@pytest.mark.parametrize(
    ("seed", "fuse", "waves"), [(1, False, 3), pytest.param(2, True, 5, marks=pytest.mark.long)]
)
async def test_answers_are_right_whatever_is_killed_while_keys_leave(
    seed: int, fuse: bool, waves: int
) -> None:
    """Sessions come in waves with silence between them, and some come back in later waves; the seed is that
    of the events and of the kills. Every node is asked where one worker computes several."""
    draw = random.Random(seed)
    metric = bounded(CIRR, key_ttl="30s", fuse=fuse)
    begin = asyncio.Event()
    async with dev_server() as client, killed_at_random(client, draw, begin) as killed:
        await ask.apply(client, metric, continue_as_new_after=3)
        begin.set()
        feed = Feed(client, metric)
        start = 0.0
        for _ in range(waves):
            keys = [f"s{draw.randrange(12)}" for _ in range(4)]
            times = sorted(start + draw.uniform(0, 60) for _ in range(30))
            for place in range(0, 30, 10):
                part = times[place : place + 10]
                rows = [(draw.choice(keys), time, *draw.choice(ROWS)) for time in part]
                draw.shuffle(rows)
                await feed.send(*rows, watermark=part[0])
            start += 60 + draw.choice([0, 40, 100])
            await feed.send(watermark=start)
            await _patiently(feed.until_everything_arrived)
        begin.clear()
        instants = list(range(0, int(start) + 60, 37))
        await _patiently(functools.partial(feed.assert_answers, instants))
        if fuse:
            await _patiently(functools.partial(assert_every_node_right, client, metric, feed.events))
        workers = [spec.worker_id for spec in all_workers(plan(metric))]
        away = [(await status(client, worker))["archives"] for worker in workers]
        assert max(away) > 0
        assert len(killed) >= waves - 1
