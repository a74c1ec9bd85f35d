"""The workers of the project, asked while their process is dead: no message is lost, and none is wedged.

Each scene goes wrong without the mend (``mended`` False), which shows that it is what helps.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, Worker
from temporalio.workflow import NondeterminismError

from tests.oracle.events import Event
from tests.workflows.cluster import SECOND, leaf_payloads, metric, status
from tests.workflows.dead_process import (
    APART,
    ask_late,
    count,
    let_answers_wait,
    meant,
    shows_the_mend,
    take_task,
    until,
    until_it_hands_over,
    until_met,
)
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import all_workers, plan
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.servers.temporal.temporal_client import DATA_CONVERTER
from timeline_workers.settings.timeline_settings import Settings
from workflows import worker as worker_module
from workflows.client import worker_health
from workflows.messages import ArchiveInput
from workflows.processor import processor_workflow
from workflows.worker import WORKFLOWS, build_worker, sandbox

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

_TICK = timedelta(seconds=10)
mends = pytest.mark.parametrize("mended", [True, False])


class Gate:
    """Once armed, holds up whoever passes until it is opened."""

    def __init__(self) -> None:
        self.armed = False
        self.waiting = threading.Event()
        self.opened = threading.Event()

    def open(self) -> None:
        """Let those that wait pass, and all that come later."""
        self.armed = False
        self.opened.set()

    def passing(self, call: Any) -> Any:
        def held(this: Any) -> Any:
            if self.armed:
                self.waiting.set()
                self.opened.wait(60)
            return call(this)

        return held


@pytest.fixture
def queue() -> str:
    return uuid.uuid4().hex


@pytest.fixture(autouse=True)
def _mend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.node.callspec.params["mended"]:
        monkeypatch.setattr(worker_module, "evict_what_queries_play_ahead", lambda *_: None)


def process(client: Client, queue: str) -> Worker:
    worker = build_worker(client, Settings(task_queue=queue))
    let_answers_wait(worker)
    return worker


def payload(applied: Metric, number: int) -> bytes:
    event = Event(key=f"k{number}", time=number * SECOND, columns={"v": "x"}, position=(0, number, 0))
    [(_, body)] = leaf_payloads(applied, [event])
    return body


async def at(seconds: float) -> None:
    """Wait for the scene's next moment, by the server's clock, which is ours."""
    await asyncio.sleep(max(0.0, seconds - time.time()))


@mends
@until_met
async def test_a_batch_during_a_query_reaches_the_leaf(
    client: Client, queue: str, mended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query finds the timer's end, after which the leaf's run ends."""
    applied = metric(f"m{queue}", "latest_event_to_state(v)", 1)
    applied = applied.model_copy(update={"source": applied.source.model_copy(update={"topic": queue})})
    [spec] = [one for one in all_workers(plan(applied)) if one.node.is_leaf]
    monkeypatch.setattr(processor_workflow, "_TICK", _TICK)
    gate = Gate()
    monkeypatch.setattr(NodeWorker, "status", gate.passing(NodeWorker.status))
    monkeypatch.setenv("TIMELINE_TASK_QUEUE", queue)
    handle = client.get_workflow_handle(spec.worker_id)
    async with process(client, queue):
        await apply_on(client, applied, queue)
        for number in range(1, 6):
            await handle.signal("ingest", payload(applied, number))
        first = (await handle.describe()).run_id
        await handle.signal("continue_as_new")
        events = await until(client, handle.id, lambda events: count(events, "TIMER_STARTED") == 1, first)
    began = next(e for e in events if e.HasField("timer_started_event_attributes")).event_time
    fires = began.ToNanoseconds() / 1e9 + _TICK.total_seconds()
    await at(fires - APART - 4.5)
    await handle.signal("detach", "nobody")
    await take_task(client, queue)
    gate.armed = True
    async with process(client, queue):
        await at(fires - APART)
        asked = ask_late(handle, "status")
        assert await asyncio.to_thread(gate.waiting.wait, 60)
        before = await handle.fetch_history()
        meant(count(list(before.events), "TIMER_FIRED") == 1)
        begun = count(list(before.events), "WORKFLOW_TASK_STARTED")
        await handle.signal("ingest", payload(applied, 6))
        await until(client, handle.id, lambda events: count(events, "WORKFLOW_TASK_STARTED") > begun, first)
        gate.open()
        await until_it_hands_over(client, handle.id, first, asked)
        status = await handle.query("status")
        shows_the_mend(status["state"]["keys"] == 6, mended)
        await handle.terminate()


async def apply_on(client: Client, applied: Metric, queue: str) -> None:
    """Start the workers of a metric on a task queue of their own, without a catalog."""
    from workflows.client.start import ensure_workers, wait_until_ready

    specs = list(all_workers(plan(applied)))
    await ensure_workers(client, specs, settings=Settings(task_queue=queue))
    await wait_until_ready(client, [spec.worker_id for spec in specs])


@mends
@until_met
async def test_a_segment_during_a_query_reaches_the_archive(
    client: Client, queue: str, mended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored here cannot be read, so that it shows in the count of what was refused."""
    spec = all_workers(plan(metric(partitions=1)))[0]
    gate = Gate()
    gate.armed = True
    length = workflow.Info.get_current_history_length  # the answer has it
    monkeypatch.setattr(workflow.Info, "get_current_history_length", gate.passing(length))
    handle = await client.start_workflow(
        "KeyArchive", args=[ArchiveInput(spec=spec), b""], id=f"archive-{queue}", task_queue=queue
    )
    first = (await handle.describe()).run_id
    await take_task(client, queue)
    async with process(client, queue):
        asked = ask_late(handle, "status")
        await asyncio.sleep(APART)  # the scene's schedule
        await handle.signal("continue_as_new")
        assert await asyncio.to_thread(gate.waiting.wait, 60)
        await handle.signal("store", b"unreadable")
        await until(client, handle.id, lambda events: count(events, "WORKFLOW_TASK_STARTED") == 2, first)
        gate.open()
        await until_it_hands_over(client, handle.id, first, asked)
        status: dict[str, Any] = await handle.query("status")
        shows_the_mend(status["refused"] == 1, mended)
        await handle.terminate()


async def heal(client: Client, worker: str) -> None:
    """Wait until the health of a wedged worker says what to do, and do it."""
    async with asyncio.timeout(60):
        while True:
            [found] = await worker_health.examine(client, [worker])
            if "temporal workflow reset --type FirstWorkflowTask" in (found.cause or ""):
                break
    assert found.state == "failing"
    events = (await client.get_workflow_handle(worker).fetch_history()).events
    first = next(e for e in events if e.HasField("workflow_task_completed_event_attributes"))
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=worker),
            workflow_task_finish_event_id=first.event_id,
            reason="nondeterminism",
            request_id=uuid.uuid4().hex,
        )
    )


@mends
@until_met
async def test_a_leaf_played_ahead_sends_as_its_history(
    client: Client, queue: str, mended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leaf is not wedged: another process can go on from its history."""
    applied = metric(f"m{queue}", 'duration_where(latest_event_to_state(v) == "x")', 1)
    applied = applied.model_copy(update={"source": applied.source.model_copy(update={"topic": queue})})
    monkeypatch.setenv("TIMELINE_TASK_QUEUE", queue)
    [leaf] = [spec for spec in all_workers(plan(applied)) if spec.node.is_leaf]
    handle = client.get_workflow_handle(leaf.worker_id)
    async with process(client, queue):
        await apply_on(client, applied, queue)
        await handle.signal("ingest", payload(applied, 1))
        await until(client, handle.id, lambda events: events[-1].HasField("marker_recorded_event_attributes"))
    await handle.signal("detach", "nobody")
    await take_task(client, queue)
    async with process(client, queue):
        asked = ask_late(handle, "status")
        await asyncio.sleep(APART)  # the scene's schedule
        await handle.signal("ingest", payload(applied, 2))
        begun = count(list((await handle.fetch_history()).events), "WORKFLOW_TASK_COMPLETED")
        meant((await asked)["state"]["keys"] == 2)
        await handle.signal("ingest", payload(applied, 3))
        events = await until(
            client,
            handle.id,
            lambda events: (
                count(events, "WORKFLOW_TASK_COMPLETED") > begun
                and events[-1].HasField("marker_recorded_event_attributes")
            ),
        )
    replayer = Replayer(workflows=WORKFLOWS, data_converter=DATA_CONVERTER, workflow_runner=sandbox())
    replayed = True
    try:
        await replayer.replay_workflow(WorkflowHistory(handle.id, events))
    except NondeterminismError:
        replayed = False
    shows_the_mend(replayed, mended)
    async with process(client, queue):
        await handle.signal("ingest", payload(applied, 4))
        if not mended:
            await heal(client, handle.id)
        async with asyncio.timeout(60):
            while (await status(client, handle.id))["state"]["keys"] < 4:
                pass  # each look is a question to the worker; the loop ends by what it sees
    for spec in all_workers(plan(applied)):
        await client.get_workflow_handle(spec.worker_id).terminate()
