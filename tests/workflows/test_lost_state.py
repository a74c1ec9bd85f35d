"""A worker whose carried state Temporal does not hold any more is rebuilt, or ends with the reason."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from tests.workflows.cluster import (
    TASK_QUEUE,
    apply,
    assert_same_as_in_process,
    cluster,
    feed,
    metric,
    status,
    until_everything_arrived,
    worked_example,
)
from timeline_workers.plan.physical import WorkerSpec, all_workers, plan
from workflows.durable import activities
from workflows.messages import ArchiveInput, CarriedState, ProcessorInput

pytestmark = pytest.mark.integration

BUFFERING = metric("buffering", 'duration_where(latest_event_to_state(playerStateChange) == "buffer")', 1)
BOUND = 60


@pytest.fixture(autouse=True)
def _sure_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activities, "_ATTEMPTS_TO_FIND", 2)


def gone() -> CarriedState:
    return CarriedState(run_id=str(uuid.uuid4()), chunks=1, size=1)


async def begin_anew(client: Client, spec: WorkerSpec, input: ProcessorInput) -> None:
    """Start a worker where the one of ``spec`` was, as a run whose predecessor is gone."""
    await client.get_workflow_handle(spec.worker_id).terminate(reason="for the test")
    workflow = "EventProcessor" if spec.node.is_leaf else "TimelineProcessor"
    await client.start_workflow(workflow, args=[input, b""], id=spec.worker_id, task_queue=TASK_QUEUE)


async def test_a_derived_worker_is_rebuilt_from_its_inputs() -> None:
    """Its subscribers open their edges from it anew; answers are as if nothing had been, and it says so."""
    events = worked_example()
    async with cluster() as client:
        await apply(client, BUFFERING)
        await feed(client, BUFFERING, events[:6])
        await until_everything_arrived(client, BUFFERING, events[:6])
        leaf, inner, result = all_workers(plan(BUFFERING))
        input = ProcessorInput(
            spec=inner,
            runs=1,
            carried=gone(),
            epochs={leaf.worker_id: 0},
            subscribed=(leaf.worker_id,),
            edge_epochs={result.worker_id: "of the run before/0"},
        )
        await begin_anew(client, inner, input)
        await feed(client, BUFFERING, events[6:])
        async with asyncio.timeout(BOUND):
            await until_everything_arrived(client, BUFFERING, events)
        await assert_same_as_in_process(client, BUFFERING, events)
        said = await status(client, inner.worker_id)
        assert inner.worker_id in said["lost_state"]
        assert "retention of namespace 'default'" in said["lost_state"]


@pytest.mark.parametrize("kind", ["leaf", "archive"])
async def test_what_cannot_be_rebuilt_here_ends_with_the_reason(kind: str) -> None:
    """A leaf is started afresh by whoever feeds it; an archive's worker names it as lost."""
    async with cluster() as client:
        leaf = all_workers(plan(BUFFERING))[0]
        input: ProcessorInput | ArchiveInput = ProcessorInput(spec=leaf, runs=1, carried=gone())
        if kind == "archive":
            input = ArchiveInput(spec=leaf, runs=1, carried=gone())
        handle = await client.start_workflow(
            "EventProcessor" if kind == "leaf" else "KeyArchive",
            args=[input, b""],
            id=kind,
            task_queue=TASK_QUEUE,
        )
        with pytest.raises(WorkflowFailureError) as failed:
            async with asyncio.timeout(BOUND):
                await handle.result()
        cause = failed.value.cause
        assert isinstance(cause, ApplicationError)
        assert cause.type == activities.STATE_GONE
        assert "retention of namespace 'default'" in cause.message
