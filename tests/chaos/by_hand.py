"""Interference by hand: `temporal workflow` and the web page, as people use them on workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

REASON = "chaos: by hand"

Where = Literal["first", "last"]


async def terminate(client: Client, workflow: str) -> None:
    """`temporal workflow terminate`."""
    await client.get_workflow_handle(workflow).terminate(reason=REASON)


async def cancel(client: Client, workflow: str) -> None:
    """`temporal workflow cancel`."""
    await client.get_workflow_handle(workflow).cancel()


async def reset(client: Client, workflow: str, where: Where) -> None:
    """`temporal workflow reset --type FirstWorkflowTask` or `LastWorkflowTask`."""
    handle = client.get_workflow_handle(workflow)
    tasks = [
        event.event_id
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    run = (await handle.describe()).run_id
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow, run_id=run),
            reason=REASON,
            workflow_task_finish_event_id=tasks[0 if where == "first" else -1],
            request_id=str(uuid4()),
        )
    )


async def closed_runs(client: Client) -> AsyncIterator[tuple[str, str]]:
    """(workflow, run) of every run that has ended."""
    async for found in client.list_workflows('ExecutionStatus != "Running"'):
        yield found.id, found.run_id


async def delete_closed_runs(client: Client) -> int:
    """What a namespace's retention does once it is over, done now; how many there were."""
    count = 0
    async for workflow, run in closed_runs(client):
        try:
            await client.workflow_service.delete_workflow_execution(
                DeleteWorkflowExecutionRequest(
                    namespace=client.namespace,
                    workflow_execution=WorkflowExecution(workflow_id=workflow, run_id=run),
                )
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # deleted already
                raise
        else:
            count += 1
    return count
