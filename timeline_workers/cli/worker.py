"""``timeline worker`` runs timeline workers; ``timeline rollout`` moves them to another build."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from typing import Annotated, Any

import structlog
import typer
from temporalio import workflow

from timeline_workers.client import TimelineClient
from timeline_workers.errors import QuestionError
from timeline_workers.process.exit import collect_seldom, run_children, stop_signals, unless_stopped
from timeline_workers.process.logging import configure_logging
from timeline_workers.process.out_of_memory import watch_for_memory_errors
from timeline_workers.servers.temporal.temporal_client import connect_when_up, temporal_target
from timeline_workers.settings.timeline import Settings
from workflows.client.rollout import Moved, rollout as roll_out, unversioned as roll_back
from workflows.durable.out_of_memory import LINE
from workflows.worker import deployment, run_worker

from .cluster import AddressOption, NamespaceOption, with_client
from .output import Output, complain, emit

_log = structlog.get_logger(__name__)
DeploymentOption = Annotated[
    str | None,
    typer.Option(
        "--deployment-name",
        help="The worker deployment that the process belongs to.",
        show_default="TIMELINE_DEPLOYMENT_NAME, or unversioned",
    ),
]
BuildOption = Annotated[
    str | None,
    typer.Option(
        "--build-id",
        help="Which build of the worker deployment this is.",
        show_default="TIMELINE_BUILD_ID, or unversioned",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (worker, rollout):
        app.command(command.__name__)(command)


def _settings(**given: Any) -> Settings:
    """The settings of the environment, those of the command line before them."""
    chosen = {Settings.variable(name): str(value) for name, value in given.items() if value is not None}
    return Settings.from_env({**os.environ, **chosen})


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
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Run timeline workers until SIGTERM or Ctrl-C: work in hand is finished, state is in Temporal.

    A Temporal server that does not answer yet is waited for. A process that runs out of memory ends with exit
    code 6; of several (`--processes`) one that ends is started again.

    With a deployment name and a build id the process is versioned: it gets work once its build is the current
    one (`timeline rollout`), and keeps the timeline workers that began on it until they have moved on.
    """
    settings = _settings(max_cached_workflows=max_cached, deployment_name=deployment_name, build_id=build_id)
    configure_logging("worker", settings.log_level)
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
                await run_worker(client, stop=stop, settings=settings)
                return 0
            one = [sys.executable, "-m", "timeline_workers", "worker", "--address", target.address]
            one += ["--namespace", target.namespace, "--max-cached", str(settings.max_cached_workflows)]
            if versioned is not None:
                one += ["--deployment-name", settings.deployment_name, "--build-id", settings.build_id]
            return await run_children([one] * processes, stop, _log.warning)

    code = asyncio.run(run())
    if code:
        complain(f"error: a worker process keeps ending with exit code {code}; the others were stopped")
        raise typer.Exit(1)


def rollout(
    deployment_name: DeploymentOption = None,
    build_id: BuildOption = None,
    unversioned: Annotated[
        bool,
        typer.Option(
            "--unversioned", help="Go back to unversioned worker processes, such as that of `timeline dev`."
        ),
    ] = False,
    wait: Annotated[float, typer.Option(min=1, help="Seconds until everything must have moved.")] = 600.0,
    output: Annotated[
        Output | None,
        typer.Option("-o", "--output", help="The result as JSON or a table.", show_default="text"),
    ] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Make a build the current one, and move every timeline worker to it; then older builds can be stopped.

    Worker processes of the build must run already. Each timeline worker finishes what it is at, hands its
    state to a new run and goes on there. Naming an earlier build rolls back. While a build is current,
    unversioned processes get no work; --unversioned gives it back to them.
    """
    if unversioned:
        _roll_back(deployment_name, build_id, wait, output, address, namespace)
        return
    settings = _settings(deployment_name=deployment_name, build_id=build_id)
    if deployment(settings) is None:
        raise QuestionError(
            "name the build to move to: --deployment-name and --build-id, or TIMELINE_DEPLOYMENT_NAME and "
            "TIMELINE_BUILD_ID"
        )

    async def work(client: TimelineClient) -> Moved:
        return await roll_out(client.temporal, settings, timeout=timedelta(seconds=wait), tell=complain)

    moved: Moved = with_client(address, namespace, work)
    if output is not None:
        emit([moved.model_dump(mode="json")], output)
        return
    typer.echo(
        f"build {moved.build_id} of deployment {moved.deployment_name} is current; "
        f"{moved.moved} timeline workers have moved to it"
    )


def _roll_back(
    deployment_name: str | None,
    build_id: str | None,
    wait: float,
    output: Output | None,
    address: str | None,
    namespace: str | None,
) -> None:
    if deployment_name is not None or build_id is not None:
        raise QuestionError("--unversioned names no build: leave out --deployment-name and --build-id")
    settings = _settings()

    async def work(client: TimelineClient) -> int:
        return await roll_back(
            client.temporal, settings.task_queue, timeout=timedelta(seconds=wait), tell=complain
        )

    moved: int = with_client(address, namespace, work)
    if output is not None:
        emit([{"deployment_name": None, "build_id": None, "moved": moved}], output)
        return
    typer.echo(f"unversioned worker processes get the work; {moved} timeline workers have moved to them")
