"""The catalog from outside: updating it, and starting it again with what it knew where it was ended by hand.

What is registered is in the catalog's workflow and nowhere else. One that has ended still answers what it had
last, for as long as the namespace keeps ended workflows.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.metric.model import StoredSource
from timeline_workers.reconcilers.definition import Definition
from timeline_workers.settings.timeline_settings import Settings
from timeline_workers.targets.target import AnyTarget
from workflows.durable.refusal_codes import passed_on
from workflows.messages import CATALOG_ID, CatalogState
from workflows.registry import CATALOG

_TIMEOUT = timedelta(seconds=10)
_SUMMARY = "Every registered metric"


async def call_catalog(client: Client, update: str, argument: Any, result_type: type[Any]) -> Any:
    """Send the catalog an update, starting the catalog when this is the first, or again when it was ended;
    waits for the result.

    Raises ApplicationError with the catalog's own message when it refuses, RPCError when it cannot be
    reached.
    """
    try:
        while True:
            state = await _to_begin_with(client)
            if state is not None:
                start = _start(state)
                return await client.execute_update_with_start_workflow(
                    update, argument, start_workflow_operation=start, result_type=result_type
                )
            try:
                handle = client.get_workflow_handle(CATALOG_ID)
                return await handle.execute_update(update, argument, result_type=result_type)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise  # else it was ended meanwhile
    except WorkflowUpdateFailedError as error:
        cause = error.cause.cause if isinstance(error.cause, ActivityError) else error.cause
        if isinstance(cause, ApplicationError):
            raise passed_on(cause) from error
        raise


def _start(state: CatalogState) -> WithStartWorkflowOperation[Any, Any]:
    return WithStartWorkflowOperation(
        CATALOG.type,
        state,
        id=CATALOG_ID,
        task_queue=Settings.from_env().task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary=_SUMMARY,
    )


async def start_again(client: Client) -> CatalogState | None:
    """Start the catalog, which has ended, with what it had last; returns that, None where it runs.

    Raises RPCError and WorkflowQueryFailedError when what it had cannot be asked for.
    """
    state = await _to_begin_with(client)
    if state is not None:
        await client.start_workflow(
            CATALOG.type,
            state,
            id=CATALOG_ID,
            task_queue=Settings.from_env().task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=_SUMMARY,
        )
    return state


async def _to_begin_with(client: Client) -> CatalogState | None:
    """What a catalog that is started now must begin with; None where one runs."""
    handle = client.get_workflow_handle(CATALOG_ID)
    try:
        described = await handle.describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return CatalogState()
        raise
    if described.status is WorkflowExecutionStatus.RUNNING:
        return None
    state: CatalogState = await handle.query("routing", result_type=CatalogState, rpc_timeout=_TIMEOUT)
    sources = await handle.query("sources", result_type=list[StoredSource], rpc_timeout=_TIMEOUT)
    more: dict[str, Any] = {"sources": tuple(sources)}
    # The catalog of a release that had none knows no such query.
    with suppress(WorkflowQueryFailedError):
        targets = await handle.query("targets", result_type=list[AnyTarget], rpc_timeout=_TIMEOUT)
        more["targets"] = tuple(targets)
    with suppress(WorkflowQueryFailedError):
        found = await handle.query("reconcilers", result_type=list[Definition], rpc_timeout=_TIMEOUT)
        more["reconcilers"] = tuple(found)
    return state.model_copy(update=more)
