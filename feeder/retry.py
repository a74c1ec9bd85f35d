"""Waiting for Temporal: what is worth another try, and how long to wait before it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from temporalio.client import WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential_jitter,
)

log = structlog.get_logger("feeder")
T = TypeVar("T")

# Trying again cannot change these: the request itself is wrong or not allowed.
_HOPELESS = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
        RPCStatusCode.NOT_FOUND,
    }
)
_QUIET_ATTEMPTS = 3


def unavailable(error: BaseException) -> bool:
    """Whether ``error`` may pass: a server that restarts, a rate limit, a worker that is not up yet."""
    if isinstance(error, RPCError):
        return error.status not in _HOPELESS
    return isinstance(
        error, (WorkflowQueryFailedError, WorkflowQueryRejectedError, OSError, asyncio.TimeoutError)
    )


async def persist(what: str, call: Callable[[], Awaitable[T]]) -> T:
    """Call until it succeeds, with growing pauses, for as long as the error may pass; any other error is
    raised.

    It never gives up by itself: cancel it to stop. ``what`` names the work in the log.
    """

    def tell(state: RetryCallState) -> None:
        if state.attempt_number >= _QUIET_ATTEMPTS and state.outcome is not None:
            log.warning(
                f"{what}: trying again", attempt=state.attempt_number, error=str(state.outcome.exception())
            )

    async for attempt in AsyncRetrying(
        retry=retry_if_exception(unavailable),
        wait=wait_exponential_jitter(initial=0.05, max=5.0, jitter=0.05),
        before_sleep=tell,
        reraise=True,
    ):
        with attempt:
            return await call()
    raise AssertionError("unreachable: the retry loop returns or raises")
