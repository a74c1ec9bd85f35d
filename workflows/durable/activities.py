"""Activities of timeline workers: sending another worker a message, and keeping state that a run's input
cannot hold.

A message to another worker is a signal sent by a local activity: it costs the sender one history event.
Delivery is at least once; the receiver drops what it has seen. A worker that is not there is reported at
once, as a failure of type ``WorkerGone``; everything else is taken for passing and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from cachetools import TTLCache
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.settings.timeline_settings import Settings
from workflows.messages import HoldInput, SubscribeInput

WORKER_GONE = "WorkerGone"
STATE_GONE = "StateGone"
# How soon a long activity is done again elsewhere when its process was killed.
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
_ATTEMPTS_TO_FIND = 5  # a quarter of a minute, with the pauses between them
DEFAULT_STATE_BYTES: int = Settings.model_fields["state_bytes"].default
_HISTORY_PAGE = 32


# Parts are asked for one after the other, first to last, and found in a history from its end: those that were
# passed on the way to the first wait here for their turn, those for another process in vain. cachetools drops
# the oldest beyond this size, and those beyond this age when others come.
_kept: TTLCache[tuple[str, str, int], bytes] = TTLCache(64 * 1024 * 1024, ttl=60, getsizeof=len)


def state_activity_id(index: int | str) -> str:
    """The id of the activity whose input is part ``index`` of a run's kept state."""
    return f"state-{index}"


async def signal_worker(client: Client, worker_id: str, signal: str, *args: Any) -> bool:
    """Signal a worker; False when no such worker runs. Any other failure is raised as RPCError."""
    try:
        await client.get_workflow_handle(worker_id).signal(
            signal, args=args, rpc_timeout=timedelta(seconds=10)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def wait_until_ended(client: Client, worker_id: str) -> None:
    """Return when a worker, or another workflow, has ended in whatever way."""
    handle = client.get_workflow_handle(worker_id)
    try:
        await handle.result()
    except WorkflowFailureError:
        # Terminated or cancelled by somebody: ended all the same.
        description = await handle.describe()
        assert description.status is not WorkflowExecutionStatus.RUNNING


async def tell(worker_id: str, signal: str, *args: Any) -> None:
    """Signal a worker from an activity; fails as ``WorkerGone``, for good, when it does not run."""
    if not await signal_worker(activity.client(), worker_id, signal, *args):
        # Benign: it happens whenever neighbours end together, and need not fill the log with tracebacks.
        raise ApplicationError(
            f"worker {worker_id} is not running",
            type=WORKER_GONE,
            non_retryable=True,
            category=ApplicationErrorCategory.BENIGN,
        )


@activity.defn
async def deliver(worker_id: str, message: bytes) -> None:
    """Give worker ``worker_id`` one message of an edge."""
    await tell(worker_id, "receive", message)


@activity.defn
async def open_edge(worker_id: str, subscription: SubscribeInput) -> None:
    """Subscribe to worker ``worker_id``."""
    await tell(worker_id, "subscribe", subscription)


@activity.defn
async def close_edge(worker_id: str, subscriber: str) -> None:
    """End a subscription to worker ``worker_id``."""
    await tell(worker_id, "unsubscribe", subscriber)


@activity.defn
async def hold_edge(worker_id: str, hold: HoldInput) -> None:
    """Have worker ``worker_id`` hold what it has to say to a subscriber, or go on."""
    await tell(worker_id, "hold", hold)


@activity.defn
async def state_limit() -> int:
    """How many bytes the state of a worker may have, by the settings of this process."""
    return Settings.from_env().state_bytes


@activity.defn
async def keep_state(part: bytes) -> None:
    """Keep ``part`` in the caller's history, as this activity's input; there is nothing else to do."""


@activity.defn
async def reopen_edge(worker_id: str, input_id: str) -> None:
    """Have worker ``worker_id`` open its edge from ``input_id``, which has lost its state, anew."""
    await tell(worker_id, "resubscribe", input_id)


@contextlib.asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Have Temporal know that this activity's process lives, while the block runs."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_TIMEOUT.total_seconds() / 5)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


@activity.defn
async def kept_state(workflow_id: str, run_id: str, index: int) -> bytes:
    """Return part ``index`` that an earlier run of the workflow has kept by ``keep_state``.

    Raises ApplicationError of type ``StateGone`` when that run, or the part in its history, is not there: it
    may have passed the namespace's retention. After some attempts, for good.
    """
    run = (workflow_id, run_id)
    if (part := _kept.pop((*run, index), None)) is not None:
        return part
    try:
        async with heartbeats(), aclosing(_kept_parts(*run, index)) as parts:
            async for found, part in parts:
                if found == index:
                    return part
                _kept[(*run, found)] = part
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    raise ApplicationError(
        f"the state of worker {workflow_id} is gone: part {index} of it was left in the history of run "
        f"{run_id}, which Temporal does not hold any more; has it passed the retention of namespace "
        f"{activity.client().namespace!r}?",
        type=STATE_GONE,
        non_retryable=activity.info().attempt >= _ATTEMPTS_TO_FIND,
    )


async def _kept_parts(workflow_id: str, run_id: str, least: int) -> AsyncGenerator[tuple[int, bytes], None]:
    """The parts that a run has kept, from part ``least`` on, last kept first."""
    client = activity.client()
    prefix = state_activity_id("")
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        maximum_page_size=_HISTORY_PAGE,
    )
    while True:
        # From the end: the state was kept last, and a history can be tens of megabytes.
        page = await client.workflow_service.get_workflow_execution_history_reverse(request)
        for event in page.history.events:
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == "keep_state" and scheduled.activity_id.startswith(prefix):
                index = int(scheduled.activity_id.removeprefix(prefix))
                if index >= least:
                    (part,) = await client.data_converter.decode(list(scheduled.input.payloads), [bytes])
                    yield index, bytes(part)
        if not page.next_page_token:
            return
        request.next_page_token = page.next_page_token


EDGE_ACTIVITIES = (
    deliver,
    open_edge,
    close_edge,
    hold_edge,
    reopen_edge,
    state_limit,
    keep_state,
    kept_state,
)
