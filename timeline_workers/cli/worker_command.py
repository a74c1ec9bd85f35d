"""``timeline worker``: runs timeline workers."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Annotated

import structlog
import typer
from temporalio import workflow
from temporalio.client import Client

from timeline_workers.client.reconciler_client import Reconcilers, imported
from timeline_workers.process.exit import collect_seldom, run_children, stop_signals, unless_stopped
from timeline_workers.process.logging import configure_logging
from timeline_workers.process.out_of_memory import watch_for_memory_errors
from timeline_workers.servers.temporal.temporal_client import connect_when_up, temporal_target
from timeline_workers.settings.timeline_settings import Settings
from workflows.durable.memory_errors import LINE
from workflows.worker import deployment, run_worker

from .cluster import AddressOption, NamespaceOption
from .output import complain
from .rollout_command import BuildOption, DeploymentOption, settings_of

_log = structlog.get_logger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("worker")(worker)


def worker(
    processes: Annotated[int, typer.Option(min=1, help="Worker processes; one uses one core.")] = 1,
    max_cached: Annotated[
        int | None,
        typer.Option(
            "--max-cached",
            min=0,
            help="Timeline workers that a process keeps in memory.",
            show_default="1000",
        ),
    ] = None,
    deployment_name: DeploymentOption = None,
    build_id: BuildOption = None,
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import", metavar="MODULE", help="Call the reconcilers that this module declares too."
        ),
    ] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Run timeline workers until SIGTERM or Ctrl-C: work in hand is finished, state is in Temporal.

    A Temporal server that does not answer yet is waited for. A process that runs out of memory ends with exit
    code 6; of several (`--processes`) one that ends is started again.

    With a deployment name and a build id the process is versioned: it gets work once its build is the current
    one (`timeline rollout`), and keeps the timeline workers that began on it until they have moved on.
    """
    settings = settings_of(
        max_cached_workflows=max_cached, deployment_name=deployment_name, build_id=build_id
    )
    configure_logging("worker", settings.log_level)
    for module in modules or []:
        imported(module)
    workflow.logger.workflow_info_on_message = False  # it is in fields
    versioned = deployment(settings)
    target = temporal_target(address, namespace)

    async def run() -> int:
        async with stop_signals() as stop:
            # Several processes are not begun before either: one line of what is waited for, or one error.
            client = await unless_stopped(connect_when_up(address, namespace, tell=_log.warning), stop)
            if client is None:
                return 0
            if processes == 1:
                collect_seldom()
                watch_for_memory_errors(LINE)
                await run_with_reconcilers(client, modules or [], settings, stop)
                return 0
            one = [sys.executable, "-m", "timeline_workers", "worker", "--address", target.address]
            one += ["--namespace", target.namespace, "--max-cached", str(settings.max_cached_workflows)]
            for module in modules or []:
                one += ["--import", module]
            if versioned is not None:
                one += ["--deployment-name", settings.deployment_name, "--build-id", settings.build_id]
            return await run_children([one] * processes, stop, _log.warning)

    code = asyncio.run(run())
    if code:
        complain(f"error: a worker process keeps ending with exit code {code}; the others were stopped")
        raise typer.Exit(1)


async def run_with_reconcilers(
    client: Client, modules: list[str], settings: Settings, stop: asyncio.Event
) -> None:
    """Run a worker process, which calls the reconcilers of ``modules`` too."""
    if not modules:
        await run_worker(client, stop=stop, settings=settings)
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(run_worker(client, stop=stop, settings=settings))
        group.create_task(Reconcilers(client).run(stop=stop, graceful=timedelta(seconds=1)))
