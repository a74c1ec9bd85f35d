"""An unversioned worker process that gets no work since a build is current, as after `timeline rollout`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from temporalio.client import Client
from temporalio.service import RPCError

from .queues import command_of, queue_of

LOOK_SECONDS = 10.0


async def warn_when_displaced(client: Client, task_queue: str, warn: Callable[[str], object]) -> None:
    """Look every ten seconds, until cancelled, whether a build is current on ``task_queue``; call ``warn``
    once for each that is.
    """
    known: tuple[str, str] | None = None
    while True:
        try:
            current = (await queue_of(client, task_queue)).current
        except RPCError:
            current = known  # Temporal is away, which is told elsewhere
        if current is not None and current != known:
            warn(
                f"build {current[1]!r} of deployment {current[0]!r} is current, so this unversioned process "
                "gets no work: give it back with `timeline rollout --unversioned`, or keep a process of the "
                f"build running: `{command_of(current)}`"
            )
        known = current
        await asyncio.sleep(LOOK_SECONDS)
