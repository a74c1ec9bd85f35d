"""A workflow for each episode, whose id is that of the episode, started or told by signal.

Where the target has no ``signal`` the workflow is started with the first message and hears of no other. One
that has ended is not started again: whoever ends it has heard enough of the episode.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.servers.temporal.temporal_client import connect
from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, Send, each, later
from timeline_workers.targets.target import TemporalTarget

_REFUSED = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED)


@asynccontextmanager
async def opened(target: TemporalTarget, sink: str, secrets: Secrets) -> AsyncIterator[Send]:
    """See ``sending.Send``."""
    client = await connect(target.address, target.namespace)

    async def one(parcel: Parcel) -> Answer:
        return await _tell(client, target, parcel)

    async def send(parcels: Sequence[Parcel]) -> list[Answer]:
        return await each(parcels, one)

    yield send


async def _tell(client: Client, target: TemporalTarget, parcel: Parcel) -> Answer:
    name, event = parcel.told.message.episode, parcel.event
    more: dict[str, Any] = {}
    if target.signal is not None:
        more = {"start_signal": target.signal, "start_signal_args": [event]}
    try:
        await client.start_workflow(
            target.workflow,
            event,
            id=name,
            task_queue=target.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            **more,
        )
    except WorkflowAlreadyStartedError:
        return Answer(verdict="taken", why=f"workflow {name} has ended")
    except RPCError as error:
        if error.status in _REFUSED:
            return Answer(verdict="never", why=f"Temporal refuses: {error.message}")
        return later(error)
    return Answer(verdict="taken", why=f"workflow {name} {'is told' if target.signal else 'runs'}")
