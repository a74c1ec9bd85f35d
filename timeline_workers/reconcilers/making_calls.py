"""``make_calls``: calls declared functions, and says what became of each call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from timeline_workers.columns.rows import FOREVER
from timeline_workers.errors import StateError
from timeline_workers.events.times import from_microseconds

from .calls import Batch, Call, Outcome, State
from .lease import Lease
from .reconciler_declaration import Again, Context, Level, Notify, PermanentError, Reconciler, RetryAfter

_ERROR_LENGTH = 500
Caller = Callable[[Reconciler, Call, Notify], Awaitable[Outcome]]


async def make_calls(
    declared: Reconciler, batch: Batch, lease: Lease, notify: Notify, caller: Caller | None = None
) -> list[Outcome]:
    """Make the calls of ``batch``; one that has not ended when the ``lease`` is lost is cancelled, and when
    the caller is.

    Returns when all have ended: one that goes on all the same is waited for.
    """
    room = asyncio.Semaphore(batch.parallel)
    make = caller or make_call

    async def one(call: Call) -> Outcome:
        async with room:
            if not lease.held:
                return Outcome(call.key, call.token, "cut_off", error=lease.why or "the lease was lost")
            return await make(declared, call, notify)

    if not await lease.begin():
        return [Outcome(call.key, call.token, "cut_off", error=lease.why) for call in batch.calls]
    keeping = asyncio.create_task(lease.keep())
    losing = asyncio.create_task(lease.lost.wait())
    calls = {asyncio.create_task(one(call)): call for call in batch.calls}
    pending = set(calls)
    try:
        while pending and not lease.lost.is_set():
            done, _ = await asyncio.wait({*pending, losing}, return_when=asyncio.FIRST_COMPLETED)
            pending = {task for task in pending if task not in done}
    except asyncio.CancelledError:
        pass  # the process stops: what has ended counts all the same
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
    keeping.cancel()
    losing.cancel()
    return [_outcome(task, call, lease) for task, call in calls.items()]


def _outcome(task: asyncio.Task[Outcome], call: Call, lease: Lease) -> Outcome:
    if task.cancelled():
        return Outcome(call.key, call.token, "cut_off", error=lease.why or "the process is stopping")
    return task.result()


async def make_call(declared: Reconciler, call: Call, notify: Notify) -> Outcome:
    """Call the function of ``declared`` once, in this process."""
    context = Context(call.key, declared.believed(call.cache), call.token, call.attempt, notify)

    def failed(ending: Any, error: str, after: int = 0) -> Outcome:
        seen = _written(context.cache) if context.observed else None
        return Outcome(call.key, call.token, ending, seen, after, error[:_ERROR_LENGTH])

    try:
        returned = await _called(declared, context, call)
        again = returned if isinstance(returned, Again) else None
        cache = context.cache if returned is None else (again.cache if again else returned)
        if not isinstance(cache, declared.cache):
            kind = type(cache).__name__
            return failed(
                "failed", f"the function returned a {kind}; it returns its cache, a {declared.cache.__name__}"
            )
        written = None if declared.cache.model_fields == {} else _written(cache)
        if again is not None:
            return Outcome(call.key, call.token, "again", written, again.after)
        return Outcome(call.key, call.token, "done", written)
    except RetryAfter as error:
        return failed("retry_after", str(error), error.after)
    except PermanentError as error:
        return failed("stalled", str(error) or "it said no more than that")
    except Exception as error:
        return failed("failed", f"{type(error).__name__}: {error}")


async def _called(declared: Reconciler, context: Context[Any], call: Call) -> Any:
    if call.finalize:
        finalize = declared.finalize
        if finalize is None:
            return None  # this process is of another release than the one that declared it
        return await _run(finalize, context)
    return await _run(declared.function, context, level_of(declared, call.desired))


async def _run(function: Callable[..., Any], *args: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    return await asyncio.to_thread(function, *args)


def level_of(declared: Reconciler, desired: State | None) -> Level[Any]:
    """A state as the function sees it. Raises StateError for one that its model does not read."""
    if desired is None:
        return Level(None)
    unit, value = declared.definition.unit, desired.value
    if declared.input is not None and value is not None:
        try:
            value = declared.input.model_validate(value)
        except ValueError as error:
            raise StateError(f"the state is no {declared.input.__name__}: {error}") from None
    since, until = (
        None if t is None or not -FOREVER < t < FOREVER else from_microseconds(t, unit)
        for t in (desired.since, desired.until)
    )
    return Level(value, since, until, desired.final, desired.stamp)


def _written(cache: BaseModel) -> bytes:
    return cache.model_dump_json().encode()
