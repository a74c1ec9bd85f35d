"""``timeline rollout``: moves timeline workers to another build."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Annotated, Any

import typer

from timeline_workers.client import Moved, TimelineClient
from timeline_workers.errors import QuestionError
from timeline_workers.settings.timeline_settings import Settings

from .cluster import AddressOption, NamespaceOption, with_client
from .output import Output, complain, emit

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
    """Add the command to ``app``."""
    app.command("rollout")(rollout)


def settings_of(**given: Any) -> Settings:
    """The settings of the environment, those of the command line before them."""
    chosen = {Settings.variable(name): str(value) for name, value in given.items() if value is not None}
    return Settings.from_env({**os.environ, **chosen})


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
    if unversioned and (deployment_name is not None or build_id is not None):
        raise QuestionError("--unversioned names no build: leave out --deployment-name and --build-id")
    settings = settings_of(deployment_name=deployment_name, build_id=build_id)

    async def work(client: TimelineClient) -> Moved:
        return await client.rollout(
            settings, unversioned=unversioned, timeout=timedelta(seconds=wait), tell=complain
        )

    moved: Moved = with_client(address, namespace, work)
    if output is not None:
        emit([moved.model_dump(mode="json")], output)
    elif moved.build_id is None:
        typer.echo(
            f"unversioned worker processes get the work; {moved.moved} timeline workers have moved to them"
        )
    else:
        typer.echo(
            f"build {moved.build_id} of deployment {moved.deployment_name} is current; "
            f"{moved.moved} timeline workers have moved to it"
        )
