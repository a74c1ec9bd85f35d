"""Moving every timeline worker to another build of the worker deployment.

The build becomes the deployment's current version; from then on new workflows, and everything that is not
pinned, go there. A pinned run learns of it with its next workflow task and continues as new on the current
build. A worker that nothing reaches has no next task, so each is asked to continue as new, again and again
until none is left on another build: a run that ends while the news is still spreading may begin once more
where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta

from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import BaseModel, ConfigDict
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    SetWorkerDeploymentCurrentVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_fixed

from timeline_workers.errors import ConnectionFailedError, QuestionError, TimelineError
from timeline_workers.settings.timeline_settings import Settings
from workflows.durable.activities import signal_worker
from workflows.registry import PINNED, running

from .client_errors import clear_errors
from .queues import command_of, described, queue_of

_PAUSE_SECONDS = 1.0
_REGISTERED_SECONDS = 8.0
_AT_ONCE = 8
# Refused for a moment: the build has just begun to poll, or somebody else changes the deployment.
_PASSING = (
    RPCStatusCode.NOT_FOUND,
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.ABORTED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.UNAVAILABLE,
)


class Moved(BaseModel):
    """``moved``: how many timeline workers were on other builds, or on unversioned processes, and are not any
    more. The build is None where they have moved to unversioned processes.
    """

    model_config = ConfigDict(frozen=True)

    deployment_name: str | None
    build_id: str | None
    moved: int


async def rollout(
    client: Client,
    settings: Settings,
    *,
    timeout: timedelta = timedelta(minutes=10),
    tell: Callable[[str], object] = lambda _: None,
) -> Moved:
    """Make the settings' build the current one and return when every timeline worker runs on it.

    Raises QuestionError when the settings name no build, ConnectionFailedError when no process of the build
    polls, TimelineError when workers are left after ``timeout``; the build stays current then, and calling it
    again goes on.
    """
    if not settings.build_id:
        raise QuestionError(
            "name the build to move to: --deployment-name and --build-id, or TIMELINE_DEPLOYMENT_NAME and "
            "TIMELINE_BUILD_ID"
        )
    name, build = settings.deployment_name, settings.build_id
    async with clear_errors(client):
        await _polling(client, settings.task_queue, (name, build))
        before = await _elsewhere(client, (name, build), [])
        await _set_current(client, name, build)
        tell(f"build {build!r} of deployment {name!r} is current")
        moved = await _move(client, timeout, tell, (name, build), before)
    return Moved(deployment_name=name, build_id=build, moved=moved)


async def unversioned(
    client: Client,
    task_queue: str,
    *,
    timeout: timedelta = timedelta(minutes=10),
    tell: Callable[[str], object] = lambda _: None,
) -> int:
    """Go back to unversioned worker processes: make no build current, and return how many timeline workers
    were on one, once none is any more.

    A worker whose build has no process any more is moved, too. Raises ConnectionFailedError when no
    unversioned process polls ``task_queue``, TimelineError when workers are left after ``timeout``.
    """
    async with clear_errors(client):
        await _polling(client, task_queue, None)
        before = await _elsewhere(client, None, [])
        current = (await queue_of(client, task_queue)).current
        if current is not None:
            await _set_current(client, current[0], "")
            tell(f"no build of deployment {current[0]!r} is current any more")
        return await _move(client, timeout, tell, None, before)


async def _polling(client: Client, task_queue: str, wanted: tuple[str, str] | None) -> None:
    """Return when a process of build ``wanted`` polls; raise ConnectionFailedError when none does."""
    try:
        async with asyncio.timeout(_REGISTERED_SECONDS):
            while not any(p.build == wanted for p in (await queue_of(client, task_queue)).pollers):
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise ConnectionFailedError(
            f"no {described(wanted)} polls task queue {task_queue!r}; start one first: {command_of(wanted)}"
        ) from None


async def _set_current(client: Client, deployment: str, build: str) -> None:
    """Make ``build`` the current one; ``""``: none of the deployment's, so that unversioned processes are."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(lambda e: isinstance(e, RPCError) and e.status in _PASSING),
        wait=wait_fixed(0.3),
        stop=stop_after_delay(_REGISTERED_SECONDS),
        reraise=True,
    ):
        with attempt:
            await client.workflow_service.set_worker_deployment_current_version(
                SetWorkerDeploymentCurrentVersionRequest(
                    namespace=client.namespace, deployment_name=deployment, build_id=build
                )
            )


async def _move(
    client: Client,
    timeout: timedelta,
    tell: Callable[[str], object],
    to: tuple[str, str] | None,
    before: Collection[str],
) -> int:
    """Have every timeline worker run on build ``to`` (None: on unversioned processes); return how many did
    not, of which those that did not ``before`` may have moved by themselves."""
    asked: dict[str, str] = {}  # each run is asked once: another signal would end the next one, too
    left: dict[str, str] = {}
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            while left := await _elsewhere(client, to, list(left)):
                if any(worker not in asked for worker in left):
                    tell(f"{len(left)} timeline workers are to move")
                await _nudge(client, [w for w, run in left.items() if asked.get(w) != run], unpin=to is None)
                asked.update(left)
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        some = ", ".join(list(left)[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        again = "--unversioned" if to is None else f"--deployment-name {to[0]} --build-id {to[1]}"
        raise TimelineError(
            f"after {timeout.total_seconds():.0f} s {len(left)} timeline workers are not on "
            f"{described(to)} yet: {some}; `timeline get` says what is wrong. Keep the other processes "
            f"running, and call `timeline rollout {again}` again"
        ) from None
    return len({*before, *asked})


async def _elsewhere(client: Client, to: tuple[str, str] | None, among: list[str]) -> dict[str, str]:
    """The timeline workers ``among`` those (none: all) whose run is not on build ``to``, with that run's id.

    By what each says itself: visibility lags behind.
    """
    workers = among or [found.id async for found in client.list_workflows(running(*PINNED))]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def run_elsewhere(worker: str) -> str | None:
        async with slots:
            try:
                described = await client.get_workflow_handle(worker).describe()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None  # ended meanwhile
                raise
        at = described.raw_description.workflow_execution_info.versioning_info.deployment_version
        there = (at.deployment_name, at.build_id) == (to or ("", ""))
        return None if there or described.status is not WorkflowExecutionStatus.RUNNING else described.run_id

    runs = await asyncio.gather(*(run_elsewhere(worker) for worker in workers))
    return {worker: run for worker, run in zip(workers, runs, strict=True) if run is not None}


async def _nudge(client: Client, workers: list[str], *, unpin: bool) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(worker: str) -> None:
        async with slots:
            if unpin:
                await _unpin(client, worker)
            await signal_worker(client, worker, "continue_as_new")

    await asyncio.gather(*(one(worker) for worker in workers))


async def _unpin(client: Client, worker: str) -> None:
    """Let the next workflow task of a run go where new work goes: its build may have no process any more."""
    await client.workflow_service.update_workflow_execution_options(
        UpdateWorkflowExecutionOptionsRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=worker),
            workflow_execution_options=WorkflowExecutionOptions(
                versioning_override=VersioningOverride(auto_upgrade=True)
            ),
            update_mask=FieldMask(paths=["versioning_override"]),
        )
    )
