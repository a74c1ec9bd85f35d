"""Asking one worker or archive, in words that say what is wrong when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import QuestionError, TimelineError, UnknownNameError

from .bounds import TOO_LARGE
from .client_errors import clear_errors, while_somebody_works
from .words import FETCHING_STATE, LEFT

T = TypeVar("T")
_CONCURRENCY = 8
QUERY_TIMEOUT = timedelta(seconds=30)


class TooLargeError(QuestionError):
    """More answers than a worker gives at once."""


class LeftError(QuestionError):
    """A worker does not know a key, and keys have left it: one of its archives may."""


async def gather(calls: Iterable[Callable[[], Awaitable[T]]], concurrency: int = _CONCURRENCY) -> list[T]:
    """Run the calls, some at once; results in their order."""
    slots = asyncio.Semaphore(concurrency)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with slots:
            return await call()

    return list(await asyncio.gather(*(one(call) for call in calls)))


async def ask_worker(client: Client, worker: str, query: str, question: Any = None) -> Any:
    """Ask one worker; raises QuestionError with its own words, UnknownNameError when it does not run."""
    handle = client.get_workflow_handle(worker)
    args = [] if question is None else [question]
    async with clear_errors(client):
        for _ in range(50):
            try:
                return await while_somebody_works(
                    client, handle.query(query, args=args, rpc_timeout=QUERY_TIMEOUT)
                )
            except WorkflowQueryFailedError as error:
                if TOO_LARGE in str(error):
                    raise TooLargeError(str(error)) from error
                if LEFT in str(error):
                    raise LeftError(str(error)) from error
                if FETCHING_STATE not in str(error):
                    raise QuestionError(str(error)) from error
                await asyncio.sleep(0.2)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    raise UnknownNameError(
                        f"worker {worker} does not run; start it with `timeline apply`"
                    ) from error
                raise
        raise TimelineError(f"worker {worker} is still fetching its state; ask again later")
