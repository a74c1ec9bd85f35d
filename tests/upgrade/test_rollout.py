"""Worker processes of two builds: timeline workers move from one to the other, and the old one can go."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.workflows.cluster import (
    TASK_QUEUE,
    apply,
    assert_same_as_in_process,
    dev_server,
    feed,
    metric,
    sessions,
    until_everything_arrived,
)
from timeline_workers.errors import ConnectionFailedError, SettingsError
from timeline_workers.plan.physical import all_workers, plan
from timeline_workers.settings.timeline_settings import Settings
from workflows.client import ask, worker_health
from workflows.client.displaced import warn_when_displaced
from workflows.client.queues import queue_of
from workflows.client.rollout import rollout, unversioned
from workflows.worker import build_worker

pytestmark = pytest.mark.integration

BY_CDN = 'latest_event_to_state(playerStateChange) == "buffer" | aggregate(group_by(cdnChange), count)'


def build(name: str) -> Settings:
    return Settings(deployment_name="timeline", build_id=name)


@contextlib.asynccontextmanager
async def worker_of(client: Client, settings: Settings) -> AsyncIterator[None]:
    async with build_worker(client, settings):
        while not any(
            p.build == ((settings.deployment_name, settings.build_id) if settings.build_id else None)
            for p in (await queue_of(client, TASK_QUEUE)).pollers
        ):
            await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
        yield


async def test_workers_move_to_another_build_and_back() -> None:
    """Unversioned, build A, build B, and A again: everything moves, idle workers included, the build that was
    left can be stopped, and every answer is that of evaluation in process.
    """
    cirr, idle = metric(), metric("idle", BY_CDN)
    everything = sessions(keys=6, events_each=60)
    quarter = len(everything) // 4  # one on unversioned processes, and one on each of three builds
    workers = {spec.worker_id for m in (cirr, idle) for spec in all_workers(plan(m))}
    async with dev_server() as client, contextlib.AsyncExitStack() as stack:

        async def fed(until: int) -> None:
            part = everything[until - quarter : until]
            await feed(client, cirr, part, batch=20)
            await until_everything_arrived(client, cirr, part)
            await assert_same_as_in_process(client, cirr, everything[:until])

        async def move(running: contextlib.AsyncExitStack | None, to: str) -> contextlib.AsyncExitStack:
            """Bring up ``to`` while events come in, move to it, and stop what ran before."""
            began = await stack.enter_async_context(contextlib.AsyncExitStack())
            await began.enter_async_context(worker_of(client, build(to)))
            moved = await rollout(client, build(to))
            assert moved.moved == len(workers)
            if running is not None:
                await running.aclose()
            return began

        running = await stack.enter_async_context(contextlib.AsyncExitStack())
        await running.enter_async_context(worker_of(client, Settings()))
        await apply(client, cirr)
        await apply(client, idle)
        await fed(quarter)
        for number, name in enumerate(("A", "B", "A"), 2):
            running = await move(running, name)
            await fed(number * quarter)
            found = await worker_health.examine(client, workers)
            assert {h.build for h in found} == {f"timeline.{name}"}
            assert {h.state for h in found} == {"ok"}
            # The catalog, which nothing has reached since, answers from the build that is there.
            assert {entry.metric.name for entry in await ask.registered(client)} == {"cirr", "idle"}


async def test_a_run_that_gets_work_moves_by_itself() -> None:
    """Once another build is current, a worker that is fed continues as new there though nobody asks it to."""
    buffering = metric("b", 'duration_where(latest_event_to_state(playerStateChange) == "buffer")', 1)
    events = sessions(keys=3, events_each=200)
    leaf = all_workers(plan(buffering))[0].worker_id
    async with dev_server() as client, worker_of(client, build("A")):
        await rollout(client, build("A"))
        await apply(client, buffering)
        await feed(client, buffering, events[:10])
        async with worker_of(client, build("B")):
            await run_temporal(client, "worker", "deployment", "set-current-version", "--deployment-name",
                               "timeline", "--build-id", "B", "--yes")  # fmt: skip
            fed = 10
            while (await worker_health.examine(client, [leaf]))[0].build != "timeline.B":
                await feed(client, buffering, events[fed : fed + 5])
                await until_everything_arrived(client, buffering, events[fed : fed + 5])
                fed += 5
                assert fed < len(events), "every event is fed, and the worker is still on build A"
            await assert_same_as_in_process(client, buffering, events[:fed])


async def run_temporal(client: Client, *arguments: str) -> None:
    """Temporal's own command line, as an operator would use it: again while Temporal does not know all queues
    of a build that has just begun to poll, and refuses to make it current.
    """
    address = client.service_client.config.target_host
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(AssertionError),
        wait=wait_fixed(0.3),
        stop=stop_after_delay(30),
        reraise=True,
    ):
        with attempt:
            process = await asyncio.create_subprocess_exec(
                str(shutil.which("temporal")), *arguments, "--address", address,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()


async def test_a_build_that_does_not_run_is_refused() -> None:
    """Rolling out to a build without a process changes nothing and says what to start."""
    async with dev_server() as client, worker_of(client, build("A")):
        await rollout(client, build("A"))
        with pytest.raises(ConnectionFailedError, match="timeline worker --deployment-name timeline --build"):
            await rollout(client, build("never"))
        assert (await queue_of(client, TASK_QUEUE)).current == ("timeline", "A")


async def test_a_stopped_build_that_still_has_workers_is_named() -> None:
    """When the process of a build is stopped before its workers have moved, their state says which is
    missing.
    """
    buffering = metric("b", "latest_event_to_state(playerStateChange)", 1)
    leaf = all_workers(plan(buffering))[0].worker_id
    async with dev_server() as client:
        async with worker_of(client, build("A")):
            await rollout(client, build("A"))
            await apply(client, buffering)
            assert (await worker_health.examine(client, [leaf]))[0].state == "ok"
        async with worker_of(client, build("B")):
            (found,) = await worker_health.examine(client, [leaf])
            assert found.state == "down"
            assert "build 'A' of deployment 'timeline'" in str(found.cause)


@pytest.mark.parametrize("build_runs", [True, False], ids=["beside", "gone"])
async def test_unversioned_processes_get_the_work_back(build_runs: bool) -> None:
    """After a rollout an unversioned process gets nothing, as that of `timeline dev`; going back moves every
    worker to it, whether the build still has a process or not, and a later rollout works as before.
    """
    cirr = metric()
    everything = sessions(keys=6, events_each=60)
    third = len(everything) // 3
    workers = {spec.worker_id for spec in all_workers(plan(cirr))}
    async with dev_server() as client, worker_of(client, Settings()):
        await apply(client, cirr)
        async with contextlib.AsyncExitStack() as versioned:
            await versioned.enter_async_context(worker_of(client, build("A")))
            await feed(client, cirr, everything[:third], batch=20)
            assert (await rollout(client, build("A"))).moved == len(workers)
            if not build_runs:
                await versioned.aclose()
                said = (await queue_of(client, TASK_QUEUE)).nobody(("timeline", "A"))
                assert "timeline worker --deployment-name timeline --build-id A" in said
                assert "timeline rollout --unversioned" in said
            assert await unversioned(client, TASK_QUEUE) == len(workers)
            await feed(client, cirr, everything[third : 2 * third], batch=20)
            await until_everything_arrived(client, cirr, everything[third : 2 * third])
            await assert_same_as_in_process(client, cirr, everything[: 2 * third])
            found = await worker_health.examine(client, workers)
            assert {(h.build, h.state) for h in found} == {(None, "ok")}
        assert await unversioned(client, TASK_QUEUE) == 0
        async with worker_of(client, build("B")):
            assert (await rollout(client, build("B"))).moved == len(workers)
            await feed(client, cirr, everything[2 * third :], batch=20)
            await until_everything_arrived(client, cirr, everything[2 * third :])
            await assert_same_as_in_process(client, cirr, everything)
            for worker in workers:  # pinned again, so that a run stays on its build
                described = await client.get_workflow_handle(worker).describe()
                info = described.raw_description.workflow_execution_info.versioning_info
                assert not info.HasField("versioning_override"), info


async def test_an_unversioned_process_says_it_has_no_work() -> None:
    """An unversioned process says that a build took its work."""
    said: list[str] = []
    async with dev_server() as client, worker_of(client, build("A")):
        await rollout(client, build("A"))
        watching = asyncio.create_task(warn_when_displaced(client, TASK_QUEUE, said.append))
        async with asyncio.timeout(60):
            while not said:
                await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
        watching.cancel()
    (line,) = said
    assert "timeline rollout --unversioned" in line
    assert "timeline worker --deployment-name timeline --build-id A" in line


async def test_going_back_without_an_unversioned_process_is_refused() -> None:
    async with dev_server() as client, worker_of(client, build("A")):
        await rollout(client, build("A"))
        with pytest.raises(ConnectionFailedError, match="start one first: timeline worker"):
            await unversioned(client, TASK_QUEUE)
        assert (await queue_of(client, TASK_QUEUE)).current == ("timeline", "A")


@pytest.mark.parametrize("given", ["TIMELINE_DEPLOYMENT_NAME", "TIMELINE_BUILD_ID"])
def test_half_a_build_is_refused(given: str) -> None:
    """A name without a build, or a build without a name, is a wrong setting that says what is missing."""
    with pytest.raises(SettingsError, match=f"{given} is set and TIMELINE_"):
        Settings.from_env({given: "x"})
