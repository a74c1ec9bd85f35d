"""``timeline dev``: the whole system on one machine, with nothing installed beside this package."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from ..embedded import (
    DEFAULT_TOPIC_PARTITIONS,
    Addresses,
    EmbeddedError,
    data_directory,
    embedded,
    running_addresses,
)
from ..supervisor import Job, Supervisor

STOP_SECONDS = 90.0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("dev")(dev)


def dev(
    temporal_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="Port of the Temporal server; 0 for any.", show_default="7233 if free"
        ),
    ] = None,
    ui_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port of Temporal's UI.", show_default="8233 if free"),
    ] = None,
    pulsar_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port of the Pulsar broker.", show_default="6650 if free"),
    ] = None,
    topic_partitions: Annotated[
        int, typer.Option(min=1, max=1_024, help="Partitions of topics that come into being.")
    ] = DEFAULT_TOPIC_PARTITIONS,
    servers_only: Annotated[
        bool, typer.Option("--servers-only", help="Run no worker and no feeder.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say what runs here, as JSON; exit code 1 when nothing does.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what runs here, and wait until it has.")] = False,
) -> None:
    """Run Temporal, a Pulsar broker, a worker and the feeder until Ctrl-C.

    Data is kept in ./.timeline, or where TIMELINE_DATA_DIR says, and found again next time. Other `timeline`
    commands, `python -m feeder` and `python -m producer` in the same directory find the servers by
    themselves.
    """
    directory = data_directory()
    if status:
        raise typer.Exit(_status(directory))
    if stop:
        raise typer.Exit(_stop(directory))
    asked = threading.Event()
    with embedded(
        directory,
        temporal_port=temporal_port,
        ui_port=ui_port,
        pulsar_port=pulsar_port,
        topic_partitions=topic_partitions,
    ) as addresses:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: asked.set())
        supervisor = Supervisor(environment_of(addresses), lambda line: typer.echo(line, err=True))

        def stop_when_jobs_end() -> None:
            supervisor.ended.wait()
            asked.set()

        threading.Thread(target=stop_when_jobs_end, daemon=True).start()
        try:
            if not servers_only:
                for job in jobs():
                    supervisor.start(job)
            _say(addresses, servers_only)
            asked.wait()
        finally:
            typer.echo("stopping …", err=True)
            supervisor.stop()
    if supervisor.failed is not None:
        name, _ = supervisor.failed
        raise EmbeddedError(f"{name} does not stay up; what it last said is above")


def jobs(log_directory: Path | None = None) -> list[Job]:
    """The worker and the feeder, in the order to start them."""

    def log(name: str) -> Path | None:
        return None if log_directory is None else log_directory / f"{name}.log"

    return [
        Job("worker", [sys.executable, "-m", "timeline_workers", "worker"], log("worker")),
        Job("feeder", [sys.executable, "-m", "feeder"], log("feeder")),
    ]


def environment_of(addresses: Addresses) -> dict[str, str]:
    """The settings that make any of our programs use these servers."""
    return {
        "TEMPORAL_ADDRESS": addresses.temporal,
        "TIMELINE_PULSAR_URL": addresses.pulsar,
        "TIMELINE_DATA_DIR": str(addresses.data_dir),
    }


def _say(addresses: Addresses, servers_only: bool) -> None:
    lines = [
        f"Temporal  {addresses.temporal}   UI {addresses.ui}",
        f"Pulsar    {addresses.pulsar}",
        f"data      {addresses.data_dir}",
        "running   " + ("the servers" if servers_only else "the servers, a worker and the feeder"),
        "Ctrl-C stops everything.",
    ]
    typer.echo("\n".join(lines), err=True)


def _status(directory: Path) -> int:
    running = running_addresses(directory)
    if running is None:
        typer.echo(f"nothing runs in {directory}; start it with `timeline dev`", err=True)
        return 1
    typer.echo(json.dumps(running.model_dump(mode="json")))
    return 0


def _stop(directory: Path) -> int:
    running = running_addresses(directory)
    if running is None:
        typer.echo(f"nothing runs in {directory}", err=True)
        return 0
    os.kill(running.pid, signal.SIGTERM)
    gone = Retrying(
        retry=retry_if_result(lambda found: found is not None),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(STOP_SECONDS),
        retry_error_callback=lambda _: running,
    )(running_addresses, directory)
    if gone is not None:
        raise EmbeddedError(f"process {running.pid} is still stopping after {STOP_SECONDS:.0f} s")
    return 0
