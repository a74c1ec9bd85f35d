"""The sinks that run: which there are, how they are, and telling them something."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from workflows.messages import SinkStatus
from workflows.registry import SINK

_QUERY_TIMEOUT = timedelta(seconds=10)


async def sinks_of(client: Client, target: str | None = None) -> list[str]:
    """The ids of the sinks that run, by name; of ``target``, or all. Raises RPCError."""
    # One that has just begun a new run may be listed with the run before alone.
    query = f"WorkflowType = '{SINK.type}' AND ExecutionStatus IN ('Running', 'ContinuedAsNew')"
    listed = {one.id async for one in client.list_workflows(query)}
    names = sorted(one for one in listed if target is None or target_of(one) == target)
    runs = await asyncio.gather(*(client.get_workflow_handle(one).describe() for one in names))
    return [one.id for one in runs if one.status is WorkflowExecutionStatus.RUNNING]


def target_of(sink: str) -> str:
    """The target of the sink of an id."""
    return sink.removeprefix("sink-").rpartition(".")[0]


async def sink_statuses(client: Client, target: str | None = None) -> list[SinkStatus]:
    """How the sinks that run are; one that ends meanwhile is left out. Raises RPCError."""
    found = await asyncio.gather(*(_status(client, one) for one in await sinks_of(client, target)))
    return [one for one in found if one is not None]


async def _status(client: Client, sink: str) -> SinkStatus | None:
    try:
        found: SinkStatus = await client.get_workflow_handle(sink).query(
            "status", result_type=SinkStatus, rpc_timeout=_QUERY_TIMEOUT
        )
    except WorkflowQueryFailedError:
        return None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return found
