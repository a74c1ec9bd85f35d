"""A worker whose state reaches its limit folds early, then pauses; it still answers, can be deleted, and goes
on with nothing lost when the limit is raised. On a real Temporal server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from tests.workflows.cluster import cluster, status
from tests.workflows.test_archive import Feed, bounded, runs_of
from tests.workflows.test_replay import replayer
from timeline_workers.errors import QuestionError
from timeline_workers.plan.physical import all_workers, plan
from workflows.client import ask
from workflows.processor import processor_workflow

pytestmark = pytest.mark.integration

STATES = ("init", "play", "buffer", "pause", "seek")
LEAF = "latest_event_to_state(playerStateChange)"
CHAIN = 'duration_where(latest_event_to_state(playerStateChange) == "buffer")'


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the limit that worker processes and drivers read; paused workers look again soon."""
    monkeypatch.setattr(processor_workflow, "FIRST_LOOK", timedelta(milliseconds=200))
    return lambda limit: monkeypatch.setenv("TIMELINE_STATE_BYTES", str(limit))


async def _until(client: Client, worker: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    while not holds(now := await status(client, worker)):
        await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
    return now


async def _replay(client: Client, workers: list[str]) -> None:
    for worker in workers:
        async for run in runs_of(client, worker):
            await replayer().replay_workflow(
                await client.get_workflow_handle(worker, run_id=run).fetch_history()
            )


async def test_a_leaf_at_its_limit_compacts_then_pauses(tiny: Callable[[int], None]) -> None:
    """It first forgets the oldest of what it may forget, and says so; then it takes nothing more, and says
    why; with the limit raised it takes what has waited."""
    tiny(3_000)
    draw = random.Random(3)
    applied = bounded(LEAF, key_ttl=None)
    async with cluster() as client:
        await ask.apply(client, applied, continue_as_new_after=2)
        (worker,) = [spec.worker_id for spec in all_workers(plan(applied))]
        feed = Feed(client, applied)
        time = 0.0
        limited = False
        while not limited:
            rows = [("s1", time + i + draw.random(), "playerStateChange", STATES[i % 5]) for i in range(100)]
            time += 100
            await feed(*rows, watermark=time)
            limited = (await status(client, worker))["state"]["limited"]
        now = await status(client, worker)
        assert now["paused"] is None
        since = now["state"]["answerable_from"]
        assert 0 < since <= time * 1_000_000
        with pytest.raises(QuestionError, match="no longer kept"):
            await ask.ask_worker(client, worker, "value_at", {"key": "s1", "at": 0.5})
        await feed.assert_answers([int(time), int(time) + 50])

        while not now["paused"]:
            names = [f"{draw.getrandbits(64):016x}" for _ in range(50)]
            time += 1
            sent = [(name, time, "playerStateChange", "play") for name in names]
            await feed.send(*sent, watermark=time)
            now = await _until(
                client, worker, lambda now: now["paused"] or (not now["inbox"] and bool(now["state"]))
            )
        assert "TIMELINE_STATE_BYTES allows 3,000" in now["paused"]
        before = now["state"]["progress"]
        await feed.send((names[0], time + 5, "playerStateChange", "pause"), watermark=time)
        now = await _until(client, worker, lambda now: now["inbox"] > 0)
        assert now["state"]["progress"] == before
        answer = await ask.ask_worker(client, worker, "value_at", {"key": "s1", "at": time})
        assert answer["value"] == "seek"

        tiny(1_000_000)
        await feed.until_everything_arrived()
        await feed.assert_answers([int(time), int(time) + 6])
        assert (await status(client, worker))["paused"] is None
        await _replay(client, [worker])
        await ask.delete(client, applied.name)


async def test_a_derived_worker_at_its_limit_holds_inputs(tiny: Callable[[int], None]) -> None:
    """What they have to say waits with them; with the limit raised every answer is as if nothing had been;
    and a metric with paused workers can be deleted."""
    tiny(1_000_000)
    draw = random.Random(4)
    applied = bounded(CHAIN, key_ttl=None)
    async with cluster() as client:
        await ask.apply(client, applied)
        workers = [spec.worker_id for spec in all_workers(plan(applied))]
        _, child, result = workers
        feed = Feed(client, applied)
        time = 0.0
        for time in range(0, 100, 10):
            rows = [
                (f"{draw.getrandbits(64):016x}", time + i / 2, "playerStateChange", STATES[i % 5])
                for i in range(20)
            ]
            await feed(*rows, watermark=time)
        tiny(1_024)
        await client.get_workflow_handle(result).signal("continue_as_new")
        now = await _until(client, result, lambda now: bool(now["paused"]))
        await _until(client, child, lambda now: now["edges"][0]["state"] == "held")
        tell = now["state"]["progress"]
        for i in range(3):
            await feed.send((f"late-{i}", time + i, "playerStateChange", "buffer"), watermark=time)
        await _until(client, child, lambda now: now["state"]["edges"][0]["pending_keys"] == 3)
        now = await status(client, result)
        assert (now["inbox"], now["state"]["progress"]) == (0, tell)

        tiny(1_000_000)
        await feed.until_everything_arrived()
        await feed.assert_answers([int(time) + 1, int(time) + 30])
        await _until(client, child, lambda now: now["edges"][0]["state"] == "idle")
        await _replay(client, workers)

        tiny(1_024)
        for worker in workers:
            await client.get_workflow_handle(worker).signal("continue_as_new")
            await _until(client, worker, lambda now: bool(now["paused"]))
        removed = await ask.delete(client, applied.name)
        assert set(removed.stopped) == set(workers)
