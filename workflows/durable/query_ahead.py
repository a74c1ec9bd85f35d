"""Keeping queries from playing a run ahead of its workflow tasks, in any worker process.

Temporal dispatches a query as a task of its own while no workflow task is pending. Where it finds the process
that had the run dead, it waits, and then goes to another process with the whole history. By then there may be
events that no workflow task has had. The client library's core applies them all the same, with
``is_replaying`` false: what the workflow then does is in no history, and stays in memory. The workflow task
for these events goes on from there, in other activations than a replay will make (nondeterminism, for ever),
and where the run had come to its end, without what arrived since (a message is lost). The workflow's code
cannot tell; docs/upstream.md has the sequence and a script.

So a run leaves the cache before the task that follows such a query, as if its process had been killed, and
that task begins with a replay. The rule, for each query that was dispatched by itself:

* The last activation that was no replay ended at an event. If that is a WorkflowTaskStarted of this process
  which was completed, the run is where its history says.
* Otherwise, or when Temporal does not say in time, the run is evicted. No task comes in between: while the
  query is unanswered, core keeps tasks of its run waiting, and takes the eviction first.

Which activations belong to a query core does not say, and a run that the process has held for long can be
played ahead as well. So the history is asked, once for each workflow task that a query follows. Tasks and
their queries alone cost nothing. The process's identity must be its own: ``unique_identity``.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import structlog
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

# The id that core gives a query which came by itself, not with a workflow task.
DIRECT_QUERY = "legacy_query"
_PAGE = 8  # events: the task is among the last ones, and each may carry a batch
_PAGES = 8
_PATIENCE = timedelta(seconds=2)
_log = structlog.get_logger(__name__)


def unique_identity(client: Client) -> str:
    """The client's identity (process and host), which containers may share, and random digits."""
    return f"{client.service_client.config.identity}-{secrets.token_hex(4)}"


def evict_what_queries_play_ahead(worker: Worker, client: Client, identity: str) -> None:
    """Have ``worker``, which polls as ``identity``, evict runs as above. Call it before the worker runs.

    It stands on private attributes of the client library (tests/workflows/test_query_ahead.py).
    """
    inner: Any = worker._workflow_worker
    assert inner is not None
    handle = inner._handle_activation
    unproved: dict[str, int] = {}  # run: the event at which its last activation that was no replay ended

    async def handled(activation: Any) -> None:
        run = activation.run_id
        if not activation.is_replaying:
            if activation.jobs[0].HasField("remove_from_cache"):
                unproved.pop(run, None)
            else:
                unproved[run] = activation.history_length
        elif run in unproved and _is_direct_query(activation):
            workflow_id = inner._running_workflows[run].workflow_id
            if await _is_own_task(client, identity, workflow_id, run, unproved[run]):
                del unproved[run]
            else:
                _log.debug(
                    "evicted: a query replayed events that no workflow task has processed",
                    workflow_id=workflow_id,
                    event_id=unproved[run],
                )
                inner._bridge_worker().request_workflow_eviction(run)
        await handle(activation)

    inner._handle_activation = handled


def _is_direct_query(activation: Any) -> bool:
    return any(
        job.HasField("query_workflow") and job.query_workflow.query_id == DIRECT_QUERY
        for job in activation.jobs
    )


async def _is_own_task(client: Client, identity: str, workflow_id: str, run_id: str, event_id: int) -> bool:
    """Whether event ``event_id`` is the start of a workflow task that ``identity`` has completed; False also
    when Temporal does not say.
    """
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        maximum_page_size=_PAGE,
    )
    completed = False
    for _ in range(_PAGES):
        try:
            page = await client.workflow_service.get_workflow_execution_history_reverse(
                request, timeout=_PATIENCE
            )
        except RPCError:
            return False
        for event in page.history.events:
            if event.event_id == event_id + 1:
                completed = event.HasField("workflow_task_completed_event_attributes")
            elif event.event_id == event_id:
                started = event.workflow_task_started_event_attributes
                return completed and started.identity == identity
            elif event.event_id < event_id:
                return False
        if not page.next_page_token:
            return False
        request.next_page_token = page.next_page_token
    return False
