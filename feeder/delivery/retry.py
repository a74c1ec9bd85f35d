"""Waiting for Temporal, and other servers: what is worth another try, and how long to wait before it."""

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
    wait_exponential,
    wait_random,
)
from tenacity.wait import wait_base

from timeline_workers.errors import TimelineError

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
# Temporal's client gives up a call after 30 s, also where the server stands still. One that takes so much
# longer never returns: a client library whose thread has run out of memory is dead without a word.
ATTEMPT_SECONDS = 90.0
_QUIET_ATTEMPTS = 3
_QUIET_LOOKS = 9  # some three quarters of a second


def unavailable(error: BaseException) -> bool:
    """Whether ``error`` may pass: a server that restarts, a rate limit, a worker that is not up yet."""
    if isinstance(error, RPCError):
        return error.status not in _HOPELESS
    return isinstance(
        error, (WorkflowQueryFailedError, WorkflowQueryRejectedError, OSError, asyncio.TimeoutError)
    )


class NeverReturnedError(TimelineError):
    """A call has not returned, and nothing in this process may be expected to any more."""


class NotYet(OSError):
    """Somebody is not as far as is waited for: nothing is wrong, ask again soon."""


class _Pause(wait_base):
    """Growing pauses. While somebody is waited for, each is half of the time that was waited
    so far, half a second at most."""

    _usual = wait_exponential(multiplier=0.05, max=5.0) + wait_random(0, 0.05)
    _soon = wait_exponential(multiplier=0.01, exp_base=1.5, max=0.5)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = None if retry_state.outcome is None else retry_state.outcome.exception()
        return (self._soon if isinstance(error, NotYet) else self._usual)(retry_state)


async def returned(what: str, task: asyncio.Task[T]) -> T:
    """What ``task`` gives, which asks nobody twice. Raises NeverReturnedError as ``persist`` does; then it
    still runs.
    """
    await asyncio.wait([task], timeout=ATTEMPT_SECONDS)
    if not task.done():
        raise _never_returned(what)
    return task.result()


def _never_returned(what: str) -> NeverReturnedError:
    return NeverReturnedError(
        f"{what}: no answer and no error for {ATTEMPT_SECONDS:g} s: a client library in this process has "
        "failed, as for lack of memory; restart it"
    )


async def persist(
    what: str,
    call: Callable[[], Awaitable[T]],
    passing: Callable[[BaseException], bool] = unavailable,
) -> T:
    """Call until it succeeds, with growing pauses, for as long as the error may pass (``passing``); any other
    error is raised.

    It never gives up by itself: cancel it to stop. ``what`` names the work in the log. Raises
    NeverReturnedError for a call that does not return within ``ATTEMPT_SECONDS``.
    """

    warned = False

    def tell(state: RetryCallState) -> None:
        nonlocal warned
        error = None if state.outcome is None else state.outcome.exception()
        quiet = _QUIET_LOOKS if isinstance(error, NotYet) else _QUIET_ATTEMPTS
        if state.attempt_number >= quiet:
            warned = True
            log.warning(f"{what}: retrying", attempt=state.attempt_number, error=str(error))

    async for attempt in AsyncRetrying(
        retry=retry_if_exception(passing),
        wait=_Pause(),
        before_sleep=tell,
        reraise=True,
    ):
        with attempt:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS) as bound:
                    result = await call()
            except TimeoutError as error:
                if bound.expired():
                    raise _never_returned(what) from error
                raise
            if warned:
                log.info(f"{what}: recovered", attempts=attempt.retry_state.attempt_number)
            return result
    raise AssertionError("unreachable: the retry loop returns or raises")
