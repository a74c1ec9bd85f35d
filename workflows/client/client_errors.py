"""Errors between a client and the workers, as the library's own: servers and worker processes that are not
there, and refusals of workflows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import NoReturn, TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers import errors
from timeline_workers.errors import Code, ConnectionFailedError, MetricError, TimelineError
from workflows.durable.refusal_codes import code_of
from workflows.messages import CATALOG_ID

from .queues import NO_WORKER, Queue, queue_of

T = TypeVar("T")
_LOOK_SECONDS = 0.5
_STARTING_SECONDS = 6.0
# After so long without an answer it is tried out whether those take work that have asked for some of late.
_DOUBT_SECONDS = 4.0
_TRIAL = timedelta(seconds=2)


def refuse(error: ApplicationError) -> NoReturn:
    """Raise what a workflow refused as the library's own error of the same name, with its code."""
    kind = getattr(errors, error.type or "", TimelineError)
    if kind is errors.ExpressionError or not (isinstance(kind, type) and issubclass(kind, TimelineError)):
        kind = MetricError
    raise kind(error.message, code=code_of(error)) from error


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
            said = await _who_does_not_answer(client)
            raise ConnectionFailedError(
                said
                or f"Temporal at {place} does not answer ({error.message}); is a worker process running? "
                f"If not, {NO_WORKER}"
            ) from error
        if "no poller" in error.message:
            said = await _who_does_not_answer(client)
            raise ConnectionFailedError(
                said or f"no worker process has been seen at {place}; {NO_WORKER}"
            ) from error
        code = Code.NOT_RUNNING if error.status is RPCStatusCode.NOT_FOUND else None
        raise TimelineError(f"Temporal at {place} refuses: {error.message}", code=code) from error
    except WorkflowQueryFailedError as error:
        raise TimelineError(f"the workflow could not answer: {error}; its worker's log says more") from error
    except ApplicationError as error:
        refuse(error)


async def _who_does_not_answer(client: Client) -> str | None:
    """Why nobody answers, where Temporal does and has no worker process; None otherwise."""
    try:
        async with asyncio.timeout(_TRIAL.total_seconds()):
            queue = await queue_of(client)
    except (RPCError, TimeoutError):
        return None
    return None if queue.is_served(None) else _at(client, queue.nobody(None))


async def refuse_unserved(client: Client, build: tuple[str, str] | None) -> None:
    """Raise ConnectionFailedError when no process has asked for work of ``build`` (None: the current) of
    late.
    """
    queue = await queue_of(client)
    if not queue.is_served(build):
        raise ConnectionFailedError(_at(client, queue.nobody(build)))


def _at(client: Client, said: str) -> str:
    return f"{said} (Temporal at {client.service_client.config.target_host})"


async def while_somebody_works(
    client: Client,
    call: Awaitable[T],
    build_of: Callable[[], Awaitable[tuple[str, str] | None]] | None = None,
) -> T:
    """Await ``call``, which needs a worker process; ConnectionFailedError soon when there is none.

    Without this the answer to a missing worker process would be a time-out, half a minute later. One that is
    just being started is waited for. ``build_of``: the build that the process must have, default (and None):
    the one that is current.
    """
    asking = asyncio.ensure_future(call)
    began, before = monotonic(), None
    tried = False
    try:
        while not (await asyncio.wait([asking], timeout=_LOOK_SECONDS))[0]:
            queue = await queue_of(client)
            build = None if build_of is None else await build_of()
            before = before or queue
            waited = monotonic() - began
            if not queue.is_served(build):
                gone = waited > _STARTING_SECONDS
            elif tried or waited < _DOUBT_SECONDS or queue.is_polled_since(before, build):
                gone = False
            else:
                # Whoever polls for the current build tells nothing of another one.
                tried = True
                gone = build in (None, queue.current) and not await takes_work(client, queue)
            if gone and not asking.done():
                raise ConnectionFailedError(_at(client, (await queue_of(client)).nobody(build)))
        return await asking
    finally:
        asking.cancel()


async def takes_work(client: Client, before: Queue) -> bool:
    """Whether some process of the current build takes work now, as one does that lives, whatever it is busy
    with. ``before``: the task queue as it was before.

    A process that was killed counts as there for a while, and one that is busy may have asked for no work of
    late, as what it has in memory comes to it by another way. So it is tried out: with a question to the
    catalog, which is first taken from whoever has it in memory.
    """
    with suppress(RPCError):  # one that has ended is in nobody's memory
        await client.workflow_service.reset_sticky_task_queue(
            ResetStickyTaskQueueRequest(
                namespace=client.namespace, execution=WorkflowExecution(workflow_id=CATALOG_ID)
            ),
            timeout=_TRIAL,
        )
    try:
        await client.get_workflow_handle(CATALOG_ID).query("sources", rpc_timeout=_TRIAL)
    except WorkflowQueryFailedError:
        return True
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return True  # there is no catalog to try it with
        return (await queue_of(client)).is_polled_since(before, None)
    return True


async def has_workers(client: Client, task_queue: str) -> bool:
    """Whether a worker process that can be given new work has asked for some in the last minute."""
    return (await queue_of(client, task_queue)).is_served(None)
