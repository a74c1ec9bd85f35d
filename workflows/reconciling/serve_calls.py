"""``serve_calls``: has this process call the reconcilers that it has declared."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from timeline_workers.reconcilers.reconciler_declaration import Reconciler
from timeline_workers.settings.timeline_settings import Settings

from .making_activity import CallMaker
from .reconciler_workflow import calls_queue

_log = structlog.get_logger(__name__)
GRACE = timedelta(seconds=30)
"""How long calls may go on when the process is to stop; what has not ended then is cancelled."""


def calls_worker(
    client: Client, declared: Reconciler, settings: Settings, *, graceful: timedelta = GRACE
) -> Worker:
    """The Temporal worker that makes the calls of one reconciler, on a task queue of its own: so the server
    itself keeps to its ``rate``, of all processes together."""
    definition = declared.definition
    return Worker(
        client,
        task_queue=calls_queue(settings.task_queue, declared.name),
        activities=[CallMaker(client, [declared]).make_calls],
        max_concurrent_activities=definition.max_running or 200,
        max_task_queue_activities_per_second=definition.rate,
        activity_task_poller_behavior=PollerBehaviorAutoscaling(minimum=1, maximum=8, initial=2),
        graceful_shutdown_timeout=graceful,
    )


async def serve_calls(
    client: Client,
    declared: Sequence[Reconciler],
    *,
    stop: asyncio.Event,
    settings: Settings | None = None,
    graceful: timedelta = GRACE,
) -> None:
    """Make calls until ``stop`` is set; those under way are finished, for ``graceful`` at most."""
    chosen = settings or Settings.from_env()
    workers = [calls_worker(client, one, chosen, graceful=graceful) for one in declared]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    stopping = asyncio.create_task(stop.wait())
    _log.info("calling reconcilers", reconcilers=[one.name for one in declared])
    try:
        await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await asyncio.gather(*(worker.shutdown() for worker in workers))
    await asyncio.gather(*running)
