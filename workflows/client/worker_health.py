"""The health of workers, seen from outside: what a stuck or failing one cannot say of itself.

A worker answers for itself as long as it can (its ``status``). When it cannot, Temporal knows why: a workflow
task that fails again and again, an activity that does, or no process that asks for work. ``examine`` puts
both together, within a few seconds and whether anything answers or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import (
    EventType,
    PendingActivityState,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import Code
from timeline_workers.process.counted import counted
from workflows.durable.refusal_codes import code_and_words
from workflows.registry import LEAF, kind_of
from workflows.worker_status import WorkerStatus

from .queues import Queue, of_build, queue_of

# Together with the look at the catalog before it, and at the broker beside it, well within ten seconds.
PATIENCE = timedelta(seconds=3.5)
_AT_ONCE = 32
_TAIL = 8  # events: a failed workflow task is among the last ones
_CAUSE_LENGTH = 400
_RESET = (
    "its code and its history disagree, until the run is reset: "
    "temporal workflow reset --type FirstWorkflowTask --reason nondeterminism"
)

State = Literal["ok", "subscribing", "fetching", "busy", "paused", "failing", "down"]


class Health(BaseModel):
    """One worker. ``cause``: what is wrong, None when nothing is; ``status``: its own answer, None when there
    is none; ``build``: the build of the worker deployment that its run is on, where there is one.

    ``state`` is ``down`` for a worker that is not there or has no process to run it, ``failing`` when
    something fails again and again, ``paused`` when it takes nothing more and says why, ``busy`` when it
    does not answer and nothing is known against it, ``fetching`` and ``subscribing`` at the beginning of a
    run, and ``ok``.
    """

    model_config = ConfigDict(frozen=True)

    worker_id: str
    state: State
    cause: str | None = None
    build: str | None = None
    status: WorkerStatus | None = None


async def examine(client: Client, workers: Iterable[str], patience: timedelta = PATIENCE) -> list[Health]:
    """How each of ``workers`` is, in their order, none of them asked for longer than ``patience``.

    When no worker of the first ones answers, the others are not waited for. Raises RPCError when Temporal
    itself does not answer.
    """
    names = list(dict.fromkeys(workers))
    queue = await queue_of(client)
    slots = asyncio.Semaphore(_AT_ONCE)
    answered = unanswered = 0

    async def one(worker: str) -> Health:
        nonlocal answered, unanswered
        async with slots:
            hopeless = not answered and unanswered >= _AT_ONCE
            found = await examine_one(client, worker, queue, timedelta(0) if hopeless else patience)
            answered += found.status is not None
            unanswered += found.state in ("busy", "down") and found.status is None
            return found

    found = list(await asyncio.gather(*(one(name) for name in names)))
    if any(health.status for health in found) or not any(health.state == "busy" for health in found):
        return found
    # Not one answers. Is everybody busy, or nobody there? Who is there goes on asking for work.
    later = await queue_of(client)
    return [
        health
        if health.state != "busy" or later.is_polled_since(queue, of_build(health.build))
        else health.model_copy(update={"state": "down", "cause": later.nobody(of_build(health.build))})
        for health in found
    ]


async def build_of(client: Client, worker: str) -> tuple[str, str] | None:
    """The build that the run of ``worker`` is on; None: that of unversioned processes. Raises RPCError."""
    return of_build(_build((await client.get_workflow_handle(worker).describe()).raw_description))


def _build(raw: DescribeWorkflowExecutionResponse) -> str | None:
    version = raw.workflow_execution_info.versioning_info.deployment_version
    return f"{version.deployment_name}.{version.build_id}" if version.deployment_name else None


async def examine_one(client: Client, worker: str, queue: Queue, patience: timedelta) -> Health:
    """How ``worker`` is, asked for no longer than ``patience``. Raises RPCError."""
    asking = asyncio.create_task(_status(client, worker, patience))
    try:
        described = await client.get_workflow_handle(worker).describe()
    except RPCError as error:
        asking.cancel()
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return Health(worker_id=worker, state="down", cause="not started; `timeline apply` starts it")
    if described.status is not WorkflowExecutionStatus.RUNNING:
        asking.cancel()
        how = await _how_it_ended(client, worker, described.run_id)
        kind = next(iter(kind_of(worker)), LEAF)
        return Health(worker_id=worker, state="down", cause=f"{how}; {kind.restarted}")
    raw = described.raw_description
    build = _build(raw)
    status, refusal = await asking

    def health(state: State, cause: str | None) -> Health:
        return Health(worker_id=worker, state=state, cause=cause, build=build, status=status)

    failing = await _failing(client, worker, raw, answers=status is not None)
    if failing is not None:
        return health("failing", failing)
    if status is not None:
        return health(*judge(status))
    if refusal is not None:
        code, said = refusal
        return health("fetching" if code is Code.NOT_READY else "failing", f"cannot answer: {_short(said)}")
    of = queue.current if build is None else of_build(build)
    if not any(p.build == of for p in queue.pollers):
        return health("down", queue.nobody(of_build(build)))
    return health("busy", f"did not answer within {patience.total_seconds():g} s; {_task(raw)}")


async def _status(
    client: Client, worker: str, patience: timedelta
) -> tuple[WorkerStatus | None, tuple[Code, str] | None]:
    """The worker's own status, or why it refuses to give one (``code_and_words``); neither when it does not
    answer in time.
    """
    if not patience:
        return None, None
    try:
        async with asyncio.timeout(patience.total_seconds()):
            asked = client.get_workflow_handle(worker).query("status", rpc_timeout=patience)
            return WorkerStatus.model_validate(await asked), None
    except WorkflowQueryFailedError as error:
        return None, code_and_words(str(error))
    except (RPCError, TimeoutError) as error:
        if isinstance(error, RPCError) and error.status is RPCStatusCode.INVALID_ARGUMENT:
            return None, (Code.FAILED, error.message)
        return None, None


async def cause_of(client: Client, worker: str) -> str | None:
    """What fails again and again in a worker that does not answer, if anything does. Raises RPCError."""
    described = await client.get_workflow_handle(worker).describe()
    return await _failing(client, worker, described.raw_description, answers=False)


async def _failing(
    client: Client, worker: str, raw: DescribeWorkflowExecutionResponse, *, answers: bool
) -> str | None:
    return await _failing_task(client, worker, raw, answers=answers) or await _failing_activity(client, raw)


async def _failing_task(
    client: Client, worker: str, raw: DescribeWorkflowExecutionResponse, *, answers: bool
) -> str | None:
    """What fails a worker's workflow task again and again; None when it does not.

    A worker that answers has at most lost a task to a process that went away; the next one does it.
    """
    attempt = raw.pending_workflow_task.attempt
    if attempt < 2 or (answers and attempt < 3):
        return None
    for event in await _tail(client, worker):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            break
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failed = event.workflow_task_failed_event_attributes
            said = f"its workflow task fails, attempt {attempt}: {await _words(client, failed.failure)}"
            if failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR:
                return f"{said}; {_RESET} --workflow-id {worker}"
            return said
    if attempt < 3:
        return None  # once too late: its process may have been killed
    return f"its workflow task is not finished in time, attempt {attempt}; the log of its process says more"


async def _failing_activity(client: Client, raw: DescribeWorkflowExecutionResponse) -> str | None:
    for pending in raw.pending_activities:
        name = pending.activity_type.name
        if pending.attempt > 1 and pending.HasField("last_failure"):
            cause = await _words(client, pending.last_failure)
            return f"its activity {name} fails, attempt {pending.attempt}: {cause}"
        if pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED:
            return f"its activity {name} was paused by hand"
    return None


async def _words(client: Client, failure: Failure) -> str:
    """What a failure says, in short; the payload codec may have encrypted it."""
    error = await client.data_converter.decode_failure(failure)
    return _short(getattr(error, "message", "") or str(error))


def _task(raw: DescribeWorkflowExecutionResponse) -> str:
    if not raw.HasField("pending_workflow_task"):
        return "it has no workflow task"
    since = datetime.now(UTC) - raw.pending_workflow_task.original_scheduled_time.ToDatetime(UTC)
    return f"its workflow task has waited or run for {max(0.0, since.total_seconds()):.1f} s"


async def ended(client: Client, workflow_id: str) -> str | None:
    """How a workflow ended, in words; None while it runs, or when there never was one. Raises RPCError."""
    try:
        found = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    if found.status is WorkflowExecutionStatus.RUNNING:
        return None
    return await _how_it_ended(client, workflow_id, found.run_id)


async def _how_it_ended(client: Client, worker: str, run_id: str) -> str:
    # Of that run: there may be another by now.
    for event in await _tail(client, worker, 1, run_id):
        name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_WORKFLOW_EXECUTION_").lower()
        reason = event.workflow_execution_terminated_event_attributes.reason
        failed = event.workflow_execution_failed_event_attributes
        failure = await _words(client, failed.failure) if failed.HasField("failure") else ""
        said = f": {_short(reason or failure)}" if reason or failure else ""
        return f"ended ({name}{said})"
    return "ended"


async def _tail(client: Client, worker: str, events: int = _TAIL, run_id: str = "") -> Sequence[HistoryEvent]:
    """The last events of a worker's history, the last one first."""
    page = await client.workflow_service.get_workflow_execution_history_reverse(
        GetWorkflowExecutionHistoryReverseRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=worker, run_id=run_id),
            maximum_page_size=events,
        )
    )
    return page.history.events


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CAUSE_LENGTH else f"{line[: _CAUSE_LENGTH - 1]}…"


def judge(status: WorkerStatus) -> tuple[State, str | None]:
    """What a worker's own status says about it; one of release 0.1.0 says less."""
    if status.paused:
        return "paused", status.paused
    for edge in status.edges:
        # Who has ended is seen as such where a metric needs it, and who never was is of no metric.
        if edge.last_error and edge.state != "gone":
            return "failing", f"edge to {edge.subscriber} {edge.state}: {edge.last_error}"
    for source in status.inputs:
        if source.last_error:
            return "failing", f"not subscribed to {source.worker}: {source.last_error}"
    if status.refused if status.unmended is None else status.unmended:
        return "failing", f"{counted(status.refused, 'payload')} refused; the last: {status.last_refusal}"
    if status.archive_error:
        return "failing", status.archive_error
    if status.archives_lost:
        return "failing", f"archives are lost, and with them keys: {', '.join(status.archives_lost)}"
    if status.state is not None and status.state.cut_off:
        return "failing", "; ".join(status.state.cut_off.values())
    if status.state is not None and status.state.too_late:
        dropped = counted(status.state.too_late, "event was", "events were")
        return "failing", f"{dropped} dropped: below the compacted part of its timeline"
    if not status.ready:
        waits = [source.worker for source in status.inputs if not source.subscribed]
        return "subscribing", f"subscribing to {', '.join(waits)}" if waits else None
    return "ok", None
