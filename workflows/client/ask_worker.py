"""Asking one worker or archive, in words that say what is wrong when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from functools import partial
from itertools import chain, repeat
from time import monotonic
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import Code, QuestionError, TimelineError, UnknownNameError
from workflows.durable.refusal_codes import code_and_words
from workflows.worker_status import WorkerStatus

from . import worker_health
from .client_errors import clear_errors, refuse_unserved, while_somebody_works

T = TypeVar("T")
_CONCURRENCY = 8
QUERY_TIMEOUT = timedelta(seconds=30)
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 3.0
# The worker has much to do, or the server has.
_BUSY = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED, RPCStatusCode.CANCELLED)


class TooLargeError(QuestionError):
    """More answers than a worker gives at once."""


class LeftError(UnknownNameError):
    """A worker does not know a key, and keys have left it: one of its archives may."""


# Of other codes it is the question that is refused.
_ERRORS: dict[Code, type[QuestionError]] = {
    Code.TOO_LARGE: TooLargeError,
    Code.KEY_MAY_HAVE_LEFT: LeftError,
    Code.UNKNOWN_KEY: UnknownNameError,
    Code.KEY_NOT_IN_ARCHIVE: UnknownNameError,
}


async def gather(calls: Iterable[Callable[[], Awaitable[T]]], concurrency: int = _CONCURRENCY) -> list[T]:
    """Run the calls, some at once; results in their order."""
    slots = asyncio.Semaphore(concurrency)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with slots:
            return await call()

    return list(await asyncio.gather(*(one(call) for call in calls)))


async def ask_worker(client: Client, worker: str, query: str, question: Any = None) -> Any:
    """Ask one worker, again for a while where it only needs time.

    Raises QuestionError with its own words, UnknownNameError when it does not know the key or does not run,
    and TimelineError with the cause when its workflow fails again and again, so that it cannot answer.
    """
    handle = client.get_workflow_handle(worker)
    args = [] if question is None else [question]
    give_up = monotonic() + _PATIENCE_SECONDS
    async with clear_errors(client):
        for pause in chain((0.2, 0.2, 0.5), repeat(1.0)):
            asking = handle.query(query, args=args, rpc_timeout=QUERY_TIMEOUT)
            try:
                return await while_somebody_works(
                    client,
                    _while_it_can(client, worker, asking),
                    partial(worker_health.build_of, client, worker),
                )
            except WorkflowQueryFailedError as error:
                code, said = code_and_words(str(error))
                if code is not Code.NOT_READY:
                    raise _ERRORS.get(code, QuestionError)(said, code=code) from error
                if monotonic() > give_up:
                    said = f"{said}; it has not become ready for {_PATIENCE_SECONDS:.0f} s"
                    raise TimelineError(said, code=code) from error
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    said = f"worker {worker} does not run; start it with `timeline apply`"
                    raise UnknownNameError(said, code=Code.NOT_RUNNING) from error
                if error.status is RPCStatusCode.FAILED_PRECONDITION:
                    # The server does not even ask: the workflow task fails, or it has seen no process lately.
                    if cause := await worker_health.cause_of(client, worker):
                        raise _cannot_answer(worker, cause) from error
                    await refuse_unserved(client, await worker_health.build_of(client, worker))
                elif error.status not in _BUSY:
                    raise
                if monotonic() > give_up:
                    raise
            await asyncio.sleep(pause)
    raise AssertionError("unreachable")


async def ask_status(client: Client, worker: str) -> WorkerStatus:
    """What a worker says of itself; raises as ``ask_worker`` does."""
    return WorkerStatus.model_validate(await ask_worker(client, worker, "status"))


def _cannot_answer(worker: str, cause: str) -> TimelineError:
    return TimelineError(f"worker {worker} cannot answer: {cause}", code=Code.CANNOT_ANSWER)


async def _while_it_can(client: Client, worker: str, call: Awaitable[T]) -> T:
    """Await ``call``; TimelineError with the cause as soon as the worker is seen to fail again and again."""
    asking = asyncio.ensure_future(call)
    try:
        while not (await asyncio.wait([asking], timeout=_LOOK_SECONDS))[0]:
            if cause := await worker_health.cause_of(client, worker):
                raise _cannot_answer(worker, cause)
        return await asking
    finally:
        asking.cancel()
