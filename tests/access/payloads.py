"""All payloads that a Temporal server has of some workflows: every event of every run, and their
descriptions.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, SearchAttributes, WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
)
from temporalio.client import Client

from tests.integration.stack import eventually


async def everything_kept(client: Client, runs: int) -> list[Message]:
    """The histories and descriptions of all runs of all workflows of the namespace, of which there are at
    least ``runs``.
    """
    found: list[tuple[str, str]] = []

    async def listed() -> bool:
        found[:] = [(each.id, each.run_id) async for each in client.list_workflows("")]
        return len(found) >= runs

    await eventually(listed)  # the list of workflows follows a little later
    kept: list[Message] = []
    for workflow_id, run_id in found:
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        page = GetWorkflowExecutionHistoryRequest(namespace=client.namespace, execution=execution)
        while True:
            answer = await client.workflow_service.get_workflow_execution_history(page)
            kept += answer.history.events
            if not answer.next_page_token:
                break
            page.next_page_token = answer.next_page_token
        description = DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=execution)
        kept.append(await client.workflow_service.describe_workflow_execution(description))
    return kept


def payloads(message: Message, path: str = "") -> Iterator[tuple[str, Payload]]:
    """Every payload in a message, however deep, with its place. Search attributes are none of ours."""
    if isinstance(message, Payload):
        yield path, message
        return
    if isinstance(message, SearchAttributes):
        return
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        place = f"{path}.{field.name}"
        if field.message_type.GetOptions().map_entry:
            for name in value:
                if isinstance(value[name], Message):
                    yield from payloads(value[name], f"{place}[{name}]")
        elif isinstance(value, Message):
            yield from payloads(value, place)
        else:
            for each in value:
                yield from payloads(each, place)
