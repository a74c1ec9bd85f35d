"""Carrying a workflow's state from one run to the next.

Small state is an input of the next run. What is too large for that is left in the history of the run that
ends, as inputs of activities that do nothing (``keep``), and the next run fetches it from there (``fetch``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from workflows.messages import CarriedState

    from . import activities
    from .inbox import Entry, pack, split, unpack

# Temporal warns of an input beyond 512 KiB, and refuses one beyond 2 MiB.
INLINE_STATE_BYTES = 448 * 1024
STATE_PART_BYTES = 448 * 1024
# Temporal takes 4 MiB from a workflow task at most; a part may be larger than STATE_PART_BYTES alone.
AT_ONCE_BYTES = 6 * STATE_PART_BYTES
KEPT_TOGETHER = "state-kept-together"
# Temporal ends a run whose history passes 50 MiB.
HISTORY_LIMIT_BYTES = 46 * 1024 * 1024
# A run whose state came through its history has that much history already: let it do some work before the
# next.
_WORK_PER_STATE = 3
_LONGEST_HISTORY = 40_000
# Temporal takes 10,000 signals in one run, and refuses more; some come while a run ends.
_MOST_SIGNALS = 8_000
_ENDS_BY_SIGNALS = "runs-end-by-signals"


class StateGoneError(ApplicationError):
    """The state that the run before has left is not there any more. A workflow that lets it pass fails."""

    def __init__(self, message: str) -> None:
        super().__init__(message, type=activities.STATE_GONE, non_retryable=True)


async def keep(entries: Iterable[Entry], carried: CarriedState | None = None) -> CarriedState:
    """Leave ``entries`` in this run's history, after those of ``carried``; returns where they are."""
    kept, size = (0, 0) if carried is None else (carried.chunks, carried.size)
    # A run that was begun by release 0.2.0 may have kept some one by one.
    most = AT_ONCE_BYTES if workflow.patched(KEPT_TOGETHER) else 0
    for some in together((pack(part) for part in split(entries, STATE_PART_BYTES)), most):
        await asyncio.gather(*(_keep(kept + i, part) for i, part in enumerate(some)))
        kept, size = kept + len(some), size + sum(map(len, some))
    return CarriedState(run_id=workflow.info().run_id, chunks=kept, size=size)


def together(parts: Iterable[bytes], most: int) -> Iterator[list[bytes]]:
    """Cut ``parts`` into runs of at most ``most`` bytes each; a larger one is a run of its own."""
    run: list[bytes] = []
    for part in parts:
        if run and sum(map(len, run)) + len(part) > most:
            yield run
            run = []
        run.append(part)
    if run:
        yield run


async def _keep(index: int, part: bytes) -> None:
    await workflow.execute_activity(
        activities.keep_state,
        part,
        activity_id=activities.state_activity_id(index),
        start_to_close_timeout=timedelta(seconds=10),
    )


async def fetch(carried: CarriedState) -> list[Entry]:
    """The entries that an earlier run of this workflow has kept, in their order. Raises StateGoneError when
    they are not there any more.
    """
    entries: list[Entry] = []
    for index in range(carried.chunks):
        # Not local: several results in one workflow task would pass the 4 MiB that one message may have.
        try:
            part = await workflow.execute_activity(
                activities.kept_state,
                args=[workflow.info().workflow_id, carried.run_id, index],
                start_to_close_timeout=timedelta(seconds=60),
                heartbeat_timeout=activities.HEARTBEAT_TIMEOUT,
                retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
            )
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type == activities.STATE_GONE:
                raise StateGoneError(cause.message) from error
            raise
        entries += unpack(part)
    return entries


def has_worked_enough(carried: CarriedState | None, fed: int | None) -> bool:
    """Whether a run that began with ``carried`` and was fed ``fed`` bytes of payloads should end, now that
    Temporal suggests it. What it leaves in its history must still fit there: the state, grown by twice what
    it was fed at most. ``fed`` None: judged as release 0.1.0 did.
    """
    if carried is None:
        return True
    info = workflow.info()
    size = info.get_current_history_size()
    room = HISTORY_LIMIT_BYTES - (2 * carried.size if fed is None else carried.size + 2 * fed)
    enough = min(_WORK_PER_STATE * carried.size, room)
    return size >= enough or info.get_current_history_length() >= _LONGEST_HISTORY


def has_had_enough_signals(signals: int) -> bool:
    """Whether a run that has had ``signals`` signals should end, whatever state it began with. It leaves a
    mark in the history, so no condition that is waited for may ask.
    """
    # Runs that release 0.2.0 began went on.
    return signals >= _MOST_SIGNALS and workflow.patched(_ENDS_BY_SIGNALS)
