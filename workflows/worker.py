"""The process that runs timeline workers, the catalog and drivers.

A Python process uses one core, so `timeline worker --processes N` runs N of them; Temporal spreads the
work. Everything a worker knows is in its history: a process can be killed at any moment, and another goes
on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from timeline_workers.process.exit import leave
from timeline_workers.process.out_of_memory import watch_headroom
from timeline_workers.settings.timeline_settings import Settings
from workflows.archive.archive_activities import ARCHIVE_ACTIVITIES
from workflows.archive.archive_workflow import KeyArchive
from workflows.catalog.catalog_activities import CATALOG_ACTIVITIES
from workflows.catalog.catalog_workflow import MetricCatalog
from workflows.catalog.driver import TimelineDriver
from workflows.durable.activities import EDGE_ACTIVITIES
from workflows.durable.ill_arguments import RefuseIllArguments
from workflows.durable.memory_errors import LINE, EndWhenOutOfMemory
from workflows.durable.query_ahead import evict_what_queries_play_ahead, unique_identity
from workflows.durable.retention import warn_of_short_retention
from workflows.outputs.alert_activities import ALERT_ACTIVITIES
from workflows.outputs.history_activities import HISTORY_ACTIVITIES
from workflows.outputs.history_output import HistoryOutput
from workflows.outputs.open_stores import close_stores
from workflows.outputs.rule_worker import AlertRule
from workflows.outputs.topic_activities import OUTPUT_ACTIVITIES
from workflows.outputs.topic_output import TopicOutput
from workflows.processor.processor_workflow import EventProcessor, TimelineProcessor
from workflows.reconciling.reconciler_workflow import Reconciler
from workflows.sinks.sink_activities import SINK_ACTIVITIES
from workflows.sinks.sink_workflow import Sink
from workflows.sinks.target_activities import TARGET_ACTIVITIES

from .processor import pinned
from .search_attributes import ensure_search_attributes

WORKFLOWS: Sequence[type] = (
    EventProcessor,
    TimelineProcessor,
    TopicOutput,
    HistoryOutput,
    Sink,
    Reconciler,
    AlertRule,
    KeyArchive,
    MetricCatalog,
    TimelineDriver,
)
_PINNED: dict[type, type] = {
    EventProcessor: pinned.EventProcessor,
    TimelineProcessor: pinned.TimelineProcessor,
    TopicOutput: pinned.TopicOutput,
    HistoryOutput: pinned.HistoryOutput,
    Reconciler: pinned.Reconciler,
    AlertRule: pinned.AlertRule,
}
ACTIVITIES: Sequence[Callable[..., Any]] = (
    *EDGE_ACTIVITIES,
    *ARCHIVE_ACTIVITIES,
    *CATALOG_ACTIVITIES,
    *OUTPUT_ACTIVITIES,
    *HISTORY_ACTIVITIES,
    *SINK_ACTIVITIES,
    *TARGET_ACTIVITIES,
    *ALERT_ACTIVITIES,
)
# The library is pure and deterministic; loading it anew for every run would cost more than the run does.
PASSTHROUGH = (
    "timeline_workers",
    "workflows",
    "numpy",
    "msgspec",
    "zstandard",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "lark",
    "structlog",
    "yaml",
    "rapidfuzz",
)
# A little less than the ten seconds after which the server gives the task to another process.
DEADLOCK_SECONDS = 9
# How long a task or a query waits for the process that has the run in memory before another takes it: what a
# killed process costs. The default is ten seconds.
STICKY_TIMEOUT = timedelta(seconds=2)
# How long activities may go on when a process is asked to stop; then they are done again elsewhere.
GRACE = timedelta(seconds=1)
# When Temporal does not answer, the client library waits half a minute and more for its leave.
_LEAVE_SECONDS = 3.0
_log = structlog.get_logger(__name__)


def sandbox() -> SandboxedWorkflowRunner:
    """Temporal's sandbox, as tests and replays use it: it refuses what is not deterministic."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSTHROUGH)
    )


def workflow_runner(settings: Settings) -> WorkflowRunner:
    """What the workflows of a worker process run in: the sandbox only where the settings ask for it.

    It took two fifths of the processor time of a worker with little to do, entered as it is for every
    payload, and three milliseconds for every run that begins.
    """
    return sandbox() if settings.sandbox else UnsandboxedWorkflowRunner()


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """The worker deployment that the settings name, or None: then the process is not versioned.

    Timeline workers are pinned to the build that a run began on (``processor.pinned``); everything else
    moves to the current build with its next workflow task, as it would between unversioned processes.
    """
    if not settings.build_id:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.deployment_name, settings.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


def build_worker(client: Client, settings: Settings, *, graceful: timedelta = GRACE) -> Worker:
    """Make the Temporal worker that ``run_worker`` runs; use it as ``async with build_worker(…):``
    elsewhere.
    """
    pollers = PollerBehaviorAutoscaling(minimum=1, maximum=16, initial=4)
    caching: dict[str, Any] = {"max_cached_workflows": settings.max_cached_workflows}
    if settings.max_cached_workflows:
        caching["workflow_task_poller_behavior"] = pollers
        caching["max_concurrent_workflow_tasks"] = 32
    else:
        # Without a cache a workflow task that waits for a local activity would be evicted by the next one's
        # arrival.
        caching["max_concurrent_workflow_tasks"] = 1
    versioned = deployment(settings)
    identity = unique_identity(client)
    worker = Worker(
        client,
        identity=identity,
        task_queue=settings.task_queue,
        workflows=WORKFLOWS if versioned is None else [_PINNED.get(w, w) for w in WORKFLOWS],
        activities=ACTIVITIES,
        workflow_runner=workflow_runner(settings),
        interceptors=[EndWhenOutOfMemory(), RefuseIllArguments()],
        # NumPy leaves the interpreter lock now and then; more threads than this only wait for it.
        workflow_task_executor=ThreadPoolExecutor(max_workers=4, thread_name_prefix="workflow"),
        max_concurrent_local_activities=200,
        max_concurrent_activities=50,
        activity_task_poller_behavior=PollerBehaviorAutoscaling(minimum=1, maximum=8, initial=2),
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=graceful,
        deployment_config=versioned,
        **caching,
    )
    _be_patient(worker)
    evict_what_queries_play_ahead(worker, client, identity)
    return worker


def _be_patient(worker: Worker) -> None:
    """Give an activation longer than the client library's two seconds before it counts as deadlocked.

    That clock runs on while an activation waits for a thread and for the interpreter lock. On a machine that
    is busy, as after a crash, work of a fraction of a second would fail again and again, and each failure
    has the workflow replayed, which keeps the machine busy. There is no public setting for it.
    """
    inner = worker._workflow_worker
    assert inner is not None
    assert hasattr(inner, "_deadlock_timeout_seconds"), "the client library keeps its patience elsewhere now"
    if inner._deadlock_timeout_seconds is not None:  # None: debugging
        inner._deadlock_timeout_seconds = DEADLOCK_SECONDS


async def run_worker(client: Client, *, stop: asyncio.Event, settings: Settings | None = None) -> None:
    """Run a worker until ``stop`` is set; work in hand is finished or handed back within some three seconds.

    Where Temporal does not take it, the process is left at once, with exit code 0: nothing is lost.
    """
    chosen = settings or Settings.from_env()
    await ensure_search_attributes(client)
    await warn_of_short_retention(client)
    worker = build_worker(client, chosen)
    running = asyncio.create_task(worker.run())
    measuring = asyncio.create_task(watch_headroom(LINE))
    stopping = asyncio.create_task(stop.wait())
    _log.info(
        "worker process started",
        temporal=client.service_client.config.target_host,
        namespace=client.namespace,
        task_queue=chosen.task_queue,
        **_build_of(chosen),
    )
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        _log.info("worker process stopping")
        leaving = asyncio.create_task(worker.shutdown())
        await asyncio.wait([leaving], timeout=_LEAVE_SECONDS)
        if not leaving.done():
            _log.warning("shutdown timed out with tasks in progress; another process retries them")
            leave(0)
    stopping.cancel()
    measuring.cancel()
    await running
    await close_stores()
    _log.info("worker process stopped")


def _build_of(settings: Settings) -> dict[str, str]:
    if not settings.build_id:
        return {}
    hint = "it gets work once `timeline rollout` has made this build the current one"
    return {"deployment": settings.deployment_name, "build": settings.build_id, "hint": hint}
