"""What goes wrong between a client and the workers, in the library's own errors: servers and worker processes
that are not there, and refusals of workflows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import NoReturn, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers import errors
from timeline_workers.errors import ConnectionFailedError, MetricError, TimelineError
from timeline_workers.settings import Settings

T = TypeVar("T")
NO_WORKER = "start one with `timeline worker` (or `timeline dev`)"
_LOOK_SECONDS = 1.0
_STARTING_SECONDS = 8.0
# A poll waits a minute for work. The server's list has pollers of the last five minutes; the rest of the
# margin is for clocks that differ.
_POLL_AGE = timedelta(seconds=90)


def refuse(error: ApplicationError) -> NoReturn:
    """Raise what a workflow refused as the library's own error of the same name."""
    kind = getattr(errors, error.type or "", TimelineError)
    if kind is errors.ExpressionError or not (isinstance(kind, type) and issubclass(kind, TimelineError)):
        kind = MetricError
    raise kind(error.message) from error


@asynccontextmanager
async def clear_errors(client: Client) -> AsyncIterator[None]:
    """Turn Temporal's errors into the library's."""
    try:
        yield
    except RPCError as error:
        place = f"{client.service_client.config.target_host}, namespace {client.namespace!r}"
        if error.status in (
            RPCStatusCode.UNAVAILABLE,
            RPCStatusCode.DEADLINE_EXCEEDED,
            RPCStatusCode.CANCELLED,
            RPCStatusCode.RESOURCE_EXHAUSTED,  # also: a query waits for every worker that is not there
        ):
            raise ConnectionFailedError(
                f"Temporal at {place} does not answer ({error.message}); is a worker process running? "
                f"If not, {NO_WORKER}"
            ) from error
        if "no poller" in error.message:
            raise ConnectionFailedError(f"no worker process has been seen at {place}; {NO_WORKER}") from error
        raise TimelineError(f"Temporal at {place} refuses: {error.message}") from error
    except WorkflowQueryFailedError as error:
        raise TimelineError(f"the workflow could not answer: {error}; its worker's log says more") from error
    except ApplicationError as error:
        refuse(error)


async def while_somebody_works(client: Client, call: Awaitable[T]) -> T:
    """Await ``call``, which needs a worker process; ConnectionFailedError soon when there is none.

    Without this the answer to a missing worker process would be a time-out, half a minute later. One that is
    just being started is waited for.
    """
    queue = Settings.from_env().task_queue
    asking = asyncio.ensure_future(call)
    give_up = monotonic() + _STARTING_SECONDS
    try:
        while not (await asyncio.wait([asking], timeout=_LOOK_SECONDS))[0]:
            if not await has_workers(client, queue) and monotonic() > give_up:
                raise ConnectionFailedError(
                    f"no worker process asks for work on task queue {queue!r} of Temporal at "
                    f"{client.service_client.config.target_host}; {NO_WORKER}"
                )
        return await asking
    finally:
        asking.cancel()


async def has_workers(client: Client, task_queue: str) -> bool:
    """Whether a worker process has asked for work in the last minute; each does, also when there is none."""
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    now = datetime.now(UTC)
    return any(now - poller.last_access_time.ToDatetime(UTC) < _POLL_AGE for poller in answer.pollers)
