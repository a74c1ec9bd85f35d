"""A question where no worker process takes work: soon an error that says which is missing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from temporalio.client import Client

from tests.workflows.cluster import TASK_QUEUE, apply, dev_server, metric
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.plan.physical import all_workers, plan
from timeline_workers.settings.timeline_settings import Settings
from workflows.client import ask, client_errors
from workflows.client.queues import Poller, Queue, queue_of
from workflows.client.rollout import rollout
from workflows.worker import build_worker

BUFFERING = metric("b", 'latest_event_to_state(playerStateChange) == "buffer"', 1)
A = Settings(deployment_name="timeline", build_id="A")
HANG = 25.0  # a time-out of Temporal's, not a slow machine


async def is_served(client: Client, build: tuple[str, str] | None) -> None:
    while not any(p.build == build for p in (await queue_of(client, TASK_QUEUE)).pollers):
        await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees


@pytest.mark.integration
async def test_a_process_just_ended_is_missed_soon() -> None:
    """Temporal lists it for minutes. The catalog and a worker are asked in vain for some seconds only."""
    result = all_workers(plan(BUFFERING))[-1].worker_id
    async with dev_server() as client:
        async with build_worker(client, Settings()):
            await apply(client, BUFFERING)
        assert (await queue_of(client)).is_served(None)
        for asking in (ask.find_metric(client, "b"), ask.ask_worker(client, result, "status")):
            began = monotonic()
            with pytest.raises(ConnectionFailedError, match=r"no worker process answers; the last, .*start"):
                await asking
            assert monotonic() - began < HANG


@pytest.mark.integration
async def test_a_process_that_is_busy_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has asked for no work since the question was put, and takes some when it is tried out."""
    monkeypatch.setattr(client_errors, "_DOUBT_SECONDS", 0.0)
    tried = asyncio.Event()

    async def try_out(client: Client, before: Queue) -> bool:
        takes = await takes_work(client, before)
        tried.set()
        return takes

    takes_work = client_errors.takes_work
    monkeypatch.setattr(client_errors, "takes_work", try_out)
    async with dev_server() as client, build_worker(client, Settings()):
        await apply(client, BUFFERING)
        assert await client_errors.while_somebody_works(client, tried.wait())


@pytest.mark.integration
async def test_the_build_that_is_missing_is_named() -> None:
    """The current build has no process, and an unversioned one gets no work: both for the catalog and for a
    worker. Where another build is current, that of the worker is named.
    """
    result = all_workers(plan(BUFFERING))[-1].worker_id
    async with dev_server() as client, build_worker(client, Settings()):
        await is_served(client, None)
        async with build_worker(client, A):
            await is_served(client, ("timeline", "A"))
            await rollout(client, A)
            await apply(client, BUFFERING)
        start = "start that build again with `timeline worker --deployment-name timeline --build-id A`"
        for asking in (ask.find_metric(client, "b"), ask.ask_worker(client, result, "status")):
            began = monotonic()
            with pytest.raises(ConnectionFailedError, match=f"no worker process of build 'A' .*{start}"):
                await asking
            assert monotonic() - began < HANG


def test_a_queue_is_served_by_new_works_receiver() -> None:
    """A process that has not asked for work for long counts no more; it asks at least once a minute."""

    def queue(current: tuple[str, str] | None, *pollers: tuple[tuple[str, str] | None, float]) -> Queue:
        now = datetime.now(UTC)
        seen = tuple(
            Poller(f"p{n}", now - timedelta(seconds=age), build) for n, (build, age) in enumerate(pollers)
        )
        return Queue("q", seen, 0, timedelta(0), current)

    a, b = ("timeline", "A"), ("timeline", "B")
    assert queue(None, (None, 59.0)).is_served(None)
    assert not queue(None, (None, 200.0)).is_served(None)
    assert not queue(None, (a, 1.0)).is_served(None)
    assert not queue(a, (None, 1.0), (b, 1.0)).is_served(None)
    assert queue(a, (None, 1.0), (b, 1.0)).is_served(b)
