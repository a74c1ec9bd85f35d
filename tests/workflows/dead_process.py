"""A worker process that has a workflow's run in memory, as Temporal believes, and is dead."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, TaskQueueKind, TaskQueueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    ResetStickyTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

# How long Temporal keeps tasks and queries for it before another process gets them.
STICKY = timedelta(seconds=3)
# From a query to the event that it is to find, and from this one's task to the query: less than that.
APART = 1.2
_BOUND = 60.0
_SCENES = 4
_POLL = timedelta(seconds=3)  # Temporal takes none that is to end within two
_POLLS = 8  # of several processes that ask, any may get a task
IDENTITY = "dead"


class MissedError(AssertionError):
    """The machine was too slow for the scene: things did not come in the order that was meant."""


def until_met(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Play a scene again, a few times, when it did not come about."""

    @functools.wraps(test)
    async def played(**given: Any) -> None:
        for _ in range(_SCENES):
            try:
                return await test(**given)
            except MissedError:
                if "queue" in given:
                    given["queue"] = uuid.uuid4().hex
        return await test(**given)

    return played


def meant(found: bool) -> None:
    """Raises MissedError unless the query found what it was to find."""
    if not found:
        raise MissedError("the query was to find what no workflow task has had")


def shows_the_mend(right: bool, mended: bool) -> None:
    """With the mend all is right. Without it, it is not; else the scene has not come about: MissedError."""
    assert right or not mended
    if right and not mended:
        raise MissedError("all is right without the mend: what it is for did not happen")


async def take_task(client: Client, task_queue: str, *, sticky: bool = True) -> None:
    """Take the next workflow task of ``task_queue``, which nobody else asks for, as ``win_task`` does."""
    assert await win_task(client, task_queue, sticky=sticky)


async def win_task(
    client: Client,
    task_queue: str,
    cause: Callable[[], Awaitable[bool]] | None = None,
    *,
    sticky: bool = True,
) -> bool:
    """Take the next workflow task of ``task_queue`` and, unless not ``sticky``, complete it without commands
    and die: what the run is to do next, and queries, wait for this process first.

    Others may ask for work there, too: ``cause`` makes the task, and returns once it has been taken, whether
    by us; the result is the same.
    """
    queue = TaskQueue(name=task_queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL)
    polls = [asyncio.create_task(_poll(client, queue)) for _ in range(1 if cause is None else _POLLS)]
    won = True
    if cause is not None:
        await _until_polled(client, queue)
        won = await cause()
    task = None
    async with asyncio.timeout(_BOUND):
        while won and task is None:
            for done in asyncio.as_completed(polls):
                if token := (await done).task_token:
                    task = token
                    break
            else:
                polls = [asyncio.create_task(_poll(client, queue))]
    # Temporal is given some time to notice: what it sends to these now would be lost.
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)
    if won and sticky:
        assert task is not None
        own = TaskQueue(
            name=f"dead-{uuid.uuid4().hex[:8]}",
            kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY,
            normal_name=task_queue,
        )
        await client.workflow_service.respond_workflow_task_completed(
            RespondWorkflowTaskCompletedRequest(
                task_token=task,
                identity=IDENTITY,
                namespace=client.namespace,
                sticky_attributes=StickyExecutionAttributes(
                    worker_task_queue=own, schedule_to_start_timeout=STICKY
                ),
            )
        )
        # Temporal waits for a process only that has asked for work lately; none asks any more afterwards.
        await _poll(client, own)
    return won


async def _poll(client: Client, queue: TaskQueue) -> PollWorkflowTaskQueueResponse:
    request = PollWorkflowTaskQueueRequest(namespace=client.namespace, task_queue=queue, identity=IDENTITY)
    try:
        return await client.workflow_service.poll_workflow_task_queue(request, timeout=_POLL)
    except RPCError as error:
        if error.status not in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED):
            raise
        return PollWorkflowTaskQueueResponse()


async def _until_polled(client: Client, queue: TaskQueue) -> None:
    async with asyncio.timeout(_BOUND):
        while not await _is_polled(client, queue):
            await asyncio.sleep(0.01)  # between two looks; the loop ends by what it sees


async def _is_polled(client: Client, queue: TaskQueue) -> bool:
    described = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=queue,
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    return any(poller.identity == IDENTITY for poller in described.pollers)


async def leave_it_to_anybody(client: Client, workflow_id: str) -> None:
    """Have the run's next task go to whichever process asks first."""
    execution = WorkflowExecution(workflow_id=workflow_id)
    await client.workflow_service.reset_sticky_task_queue(
        ResetStickyTaskQueueRequest(namespace=client.namespace, execution=execution)
    )


async def until(
    client: Client,
    workflow_id: str,
    fits: Callable[[list[HistoryEvent]], bool],
    run_id: str | None = None,
) -> list[HistoryEvent]:
    """The history of the run once it fits; TimeoutError after a minute."""
    async with asyncio.timeout(_BOUND):
        while True:
            history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
            if fits(list(history.events)):
                return list(history.events)
            await asyncio.sleep(0.02)  # between two looks; the loop ends by what it sees


async def until_it_hands_over(
    client: Client, workflow_id: str, run_id: str, asked: asyncio.Task[Any]
) -> None:
    """Return when the run has continued as new, and its question is over: answered, or too late for its asker
    on a slow machine.
    """
    await asyncio.gather(asked, return_exceptions=True)
    handed_over = "WORKFLOW_EXECUTION_CONTINUED_AS_NEW"
    await until(client, workflow_id, lambda events: count(events, handed_over) == 1, run_id)


def ask_late(handle: WorkflowHandle[Any, Any], query: str) -> asyncio.Task[Any]:
    """Ask a workflow whose process is dead: another one answers in the end."""
    return asyncio.create_task(handle.query(query, rpc_timeout=timedelta(seconds=40)))


def let_answers_wait(worker: Worker) -> None:
    """Have a worker not take answers that wait for something for a deadlock."""
    inner: Any = worker._workflow_worker
    inner._deadlock_timeout_seconds = None


def count(events: list[HistoryEvent], kind: str) -> int:
    """How many events of a kind, such as ``WORKFLOW_TASK_STARTED``, there are."""
    wanted = EventType.Value(f"EVENT_TYPE_{kind}")
    return sum(event.event_type == wanted for event in events)
