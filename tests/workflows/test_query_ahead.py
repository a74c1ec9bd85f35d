"""A query that reaches another process than the one that had the run leaves nothing behind there.

Every scene is played with the client library as it is, too, and must go wrong there: when it does not, a new
release of the library needs our mend no longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
import warnings
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker
from temporalio.workflow import NondeterminismError

from tests.workflows.dead_process import (
    APART,
    IDENTITY,
    ask_late,
    count,
    leave_it_to_anybody,
    let_answers_wait,
    meant,
    take_task,
    until,
    until_it_hands_over,
    until_met,
    win_task,
)
from timeline_workers.servers.temporal.temporal_client import DATA_CONVERTER
from workflows.durable.query_ahead import DIRECT_QUERY, evict_what_queries_play_ahead, unique_identity

pytestmark = pytest.mark.integration
scene = pytest.mark.asyncio(loop_scope="module")

_TASK = timedelta(seconds=5)  # more than from the task's start to the query
_TRIES = 20
OBSOLETE = (
    "the client library does not play queries ahead any more: remove workflows/durable/query_ahead.py, its "
    "call in workflows/worker.py, and the bound on temporalio in pyproject.toml"
)


class Gate:
    """Holds up the answers of queries that are asked to wait."""

    opened = threading.Event()
    waiting = threading.Semaphore(0)


@activity.defn
async def note() -> None:
    """Do nothing, as a message to another worker does for the sender."""


@workflow.defn
class Relay:
    """Runs a local activity whenever something has come, and hands over when it is told to."""

    @workflow.init
    def __init__(self, items: list[str]) -> None:
        self.items = items
        self.news = False
        self.ending = False

    @workflow.run
    async def run(self, items: list[str]) -> None:
        while True:
            await workflow.wait_condition(lambda: self.news or self.ending)
            if self.ending:
                workflow.continue_as_new(self.items)
            self.news = False
            await workflow.execute_local_activity(note, start_to_close_timeout=timedelta(seconds=10))

    @workflow.signal
    def add(self, item: str) -> None:
        self.items.append(item)
        self.news = True

    @workflow.signal
    def idle(self) -> None:
        pass

    @workflow.signal
    def end(self) -> None:
        self.ending = True

    @workflow.query
    def known(self) -> list[str]:
        return self.items

    @workflow.query
    def known_late(self) -> list[str]:
        Gate.waiting.release()
        Gate.opened.wait(60)
        return self.items


@pytest.fixture(autouse=True)
def _gate() -> None:
    Gate.opened = threading.Event()
    Gate.waiting = threading.Semaphore(0)


@contextlib.asynccontextmanager
async def process(client: Client, queue: str, *, mended: bool) -> AsyncIterator[list[str]]:
    """A worker process, with our mend or without it; gives the runs that left its cache."""
    warnings.filterwarnings("ignore", "Cannot find activity to cancel")
    identity = unique_identity(client)
    worker = Worker(
        client,
        task_queue=queue,
        identity=identity,
        workflows=[Relay],
        activities=[note],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    let_answers_wait(worker)
    if mended:
        evict_what_queries_play_ahead(worker, client, identity)
    evicted: list[str] = []
    inner: Any = worker._workflow_worker
    inner._on_eviction_hook = lambda run, _: evicted.append(run)
    async with worker:
        yield evicted


async def begin(client: Client, queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        "Relay", [], id=f"relay-{uuid.uuid4().hex}", task_queue=queue, task_timeout=_TASK
    )


async def known(handle: WorkflowHandle[Any, Any]) -> list[str]:
    items: list[str] = await ask_late(handle, "known")
    return items


async def replays(events: list[HistoryEvent]) -> bool:
    """Whether another process can go on from this history."""
    replayer = Replayer(
        workflows=[Relay], workflow_runner=UnsandboxedWorkflowRunner(), data_converter=DATA_CONVERTER
    )
    try:
        await replayer.replay_workflow(WorkflowHistory("relay", events))
    except NondeterminismError:
        return False
    return True


async def ask_ahead(client: Client, handle: WorkflowHandle[Any, Any]) -> None:
    """Ask a run whose process is dead; have an event come meanwhile, and another one after the answer."""
    tasks = count(list((await handle.fetch_history()).events), "WORKFLOW_TASK_COMPLETED")
    asked = asyncio.create_task(known(handle))
    await asyncio.sleep(APART)  # the scene's schedule; whether it came so is asserted below
    await handle.signal("add", "one")
    meant(await asked == ["one"])
    await handle.signal("add", "two")
    events = await until(client, handle.id, lambda events: count(events, "WORKFLOW_TASK_COMPLETED") > tasks)
    names = [
        e.workflow_execution_signaled_event_attributes.input.payloads[0].data
        for e in events[:-1]
        if e.workflow_execution_signaled_event_attributes.signal_name == "add"
    ]
    assert names[:2] == [b'"one"', b'"two"']
    assert await known(handle) == ["one", "two"]


@scene
@pytest.mark.parametrize("mended", [True, False])
@until_met
async def test_an_event_a_query_found_is_done_again(client: Client, mended: bool) -> None:
    """The process built the run for the query."""
    queue = uuid.uuid4().hex
    handle = await begin(client, queue)
    await take_task(client, queue)
    async with process(client, queue, mended=mended):
        await ask_ahead(client, handle)
        events = list((await handle.fetch_history()).events)
    assert await replays(events) is mended, OBSOLETE


async def move_to_dead_process(
    client: Client, handle: WorkflowHandle[Any, Any], queue: str, signal: str, *args: str, sticky: bool = True
) -> bool:
    """Signal the run, and have its task go to a process that dies; False when our worker got it."""

    async def cause() -> bool:
        before = count(list((await handle.fetch_history()).events), "WORKFLOW_TASK_STARTED")
        await leave_it_to_anybody(client, handle.id)
        await handle.signal(signal, args=args)
        events = await until(
            client, handle.id, lambda events: count(events, "WORKFLOW_TASK_STARTED") > before
        )
        started = [e for e in events if e.HasField("workflow_task_started_event_attributes")]
        return started[-1].workflow_task_started_event_attributes.identity == IDENTITY

    return await win_task(client, queue, cause, sticky=sticky)


async def held_and_moved(client: Client, queue: str) -> WorkflowHandle[Any, Any]:
    """A run of which the worker of ``queue`` did a task, and a process that is dead by now the last one."""
    handle = await begin(client, queue)
    await until(client, handle.id, lambda events: count(events, "WORKFLOW_TASK_COMPLETED") == 1)
    for _ in range(_TRIES):
        if await move_to_dead_process(client, handle, queue, "idle"):
            return handle
    raise AssertionError("the worker gets every task")


@scene
@pytest.mark.parametrize("mended", [True, False])
@until_met
async def test_a_run_held_already_is_evicted(client: Client, mended: bool) -> None:
    """Its process did a task of the run, another one did the next and died, and then came the query."""
    queue = uuid.uuid4().hex
    async with process(client, queue, mended=mended):
        handle = await held_and_moved(client, queue)
        await ask_ahead(client, handle)
        events = list((await handle.fetch_history()).events)
    assert await replays(events) is mended, OBSOLETE


@scene
@pytest.mark.parametrize("mended", [True, False])
@until_met
async def test_anothers_task_is_not_taken_for_done(client: Client, mended: bool) -> None:
    """The query finds the start of a workflow task at the history's end; its process dies over it."""
    queue = uuid.uuid4().hex
    async with process(client, queue, mended=mended):
        for _ in range(_TRIES):
            handle = await held_and_moved(client, queue)
            asked = asyncio.create_task(known(handle))
            await asyncio.sleep(APART)  # the scene's schedule, as above
            if await move_to_dead_process(client, handle, queue, "add", "one", sticky=False):
                break
            await asked
        meant(await asked == ["one"])
        await handle.signal("add", "two")
        events = await until(
            client,
            handle.id,
            lambda events: (
                count(events, "WORKFLOW_TASK_TIMED_OUT") == 1
                and events[-1].HasField("marker_recorded_event_attributes")
            ),
        )
        assert await known(handle) == ["one", "two"]
    assert await replays(events) is mended, OBSOLETE


@scene
@pytest.mark.parametrize("mended", [True, False])
@until_met
async def test_signals_during_a_query_reach_the_next_run(client: Client, mended: bool) -> None:
    """The query plays the run to its end; the task that ends it comes while the answer is on its way."""
    queue = uuid.uuid4().hex
    handle = await begin(client, queue)
    first = (await handle.describe()).run_id
    await take_task(client, queue)
    async with process(client, queue, mended=mended):
        asked = ask_late(handle, "known_late")
        await asyncio.sleep(APART)  # the scene's schedule, as above
        await handle.signal("end")
        assert await asyncio.to_thread(Gate.waiting.acquire, True, 60)
        await handle.signal("add", "one")
        await until(client, handle.id, lambda events: count(events, "WORKFLOW_TASK_STARTED") == 2, first)
        Gate.opened.set()
        await until_it_hands_over(client, handle.id, first, asked)
        assert (await known(handle) == ["one"]) is mended, OBSOLETE


@scene
async def test_a_run_not_played_ahead_stays_cached(client: Client) -> None:
    """Questions between a process's own tasks cost no replay."""
    queue = uuid.uuid4().hex
    handle = await begin(client, queue)
    async with process(client, queue, mended=True) as evicted:
        for number in range(5):
            await handle.signal("add", str(number))
            await until(
                client,
                handle.id,
                lambda events, number=number: count(events, "MARKER_RECORDED") == number + 1,  # type: ignore[misc]
            )
            assert len(await known(handle)) == number + 1
        assert evicted == []


def test_the_client_library_has_what_the_mend_stands_on() -> None:
    """It is private, so it may move with any release; pyproject.toml says which were tried."""
    from temporalio.bridge.proto.workflow_activation import WorkflowActivation
    from temporalio.bridge.worker import Worker as BridgeWorker
    from temporalio.worker._workflow import _WorkflowWorker

    assert callable(_WorkflowWorker._handle_activation)
    assert callable(BridgeWorker.request_workflow_eviction)
    activation = WorkflowActivation(run_id="run", is_replaying=False, history_length=3)
    activation.jobs.add().query_workflow.query_id = DIRECT_QUERY
    activation.jobs.add().remove_from_cache.SetInParent()
    assert activation.jobs[0].HasField("query_workflow")
