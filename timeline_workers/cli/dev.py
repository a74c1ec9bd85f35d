"""``timeline dev``: the whole system on one machine, with nothing installed beside this package."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import structlog
import typer
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from timeline_workers.client.dev_status import look, until_polled
from timeline_workers.errors import HistoryError
from timeline_workers.history.open import open_history
from timeline_workers.process.logging import configure_logging
from timeline_workers.process.supervisor import Job, Supervisor, described
from timeline_workers.servers.embedded.embedded_servers import (
    DEFAULT_TOPIC_PARTITIONS,
    PATIENCE_SECONDS,
    Addresses,
    EmbeddedError,
    data_directory,
    embedded,
    free_port,
    running_addresses,
)
from timeline_workers.settings.credentials import PulsarAccess
from timeline_workers.settings.history_settings import OFF, HistorySettings, shown_address, sqlite_address
from timeline_workers.settings.timeline_settings import LogSettings

from .output import ExitCode
from .serve_command import INSTALL, PORT

STOP_SECONDS = 90.0
HISTORY_FILE = Path("history", "history.db")
_log = structlog.get_logger("dev")


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
    page_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port of the page.", show_default=f"{PORT} if free"),
    ] = None,
    servers_only: Annotated[
        bool, typer.Option("--servers-only", help="Run no worker, no feeder and no page.")
    ] = False,
    page: Annotated[bool, typer.Option(help="Serve the page (`timeline serve`).")] = True,
    history: Annotated[
        bool,
        typer.Option(
            help="Store the history in SQLite in the data directory, or where TIMELINE_HISTORY says."
        ),
    ] = True,
    status: Annotated[
        bool,
        typer.Option(
            "--status",
            help="Say as JSON what runs here and whether it answers; exit code 1 when nothing runs, 4 when "
            "some of it does not run or answer.",
        ),
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what runs here, and wait until it has.")] = False,
) -> None:
    """Run Temporal, a Pulsar broker, a worker, the feeder and the page until Ctrl-C.

    Data is kept in ./.timeline, or where TIMELINE_DATA_DIR says, and found again next time. Other `timeline`
    commands, `python -m feeder` and `python -m producer` in the same directory find the servers, and the
    history, by themselves.

    What ends by itself is started again, with a line that says how it ended; what keeps ending for five
    minutes stops everything. While less than TIMELINE_MIN_FREE_BYTES of the disk are free, the broker is
    stopped.
    """
    directory = data_directory()
    if status:
        raise typer.Exit(_status(directory))
    if stop:
        raise typer.Exit(_stop(directory))
    configure_logging("dev", LogSettings.from_env().log_level)
    asked = threading.Event()
    supervisor = Supervisor(tell=_tell, patience=PATIENCE_SECONDS)
    store = _history(directory, history)
    with embedded(
        directory,
        temporal_port=temporal_port,
        ui_port=ui_port,
        pulsar_port=pulsar_port,
        topic_partitions=topic_partitions,
        supervisor=supervisor,
        # One with a password is written nowhere.
        history=store if store is not None and store.startswith("sqlite:") else None,
    ) as addresses:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: asked.set())

        def stop_when_given_up() -> None:
            supervisor.ended.wait()
            asked.set()

        threading.Thread(target=stop_when_given_up, daemon=True).start()
        try:
            if store is not None:
                asyncio.run(_make(store))
            if not servers_only:
                settings = {**environment_of(addresses), **_pulsar_log(directory)}
                settings[HistorySettings.variable("history")] = store or OFF
                port = free_port(page_port, PORT) if page and has_web() else None
                for job in jobs(environment=settings, page_port=port):
                    supervisor.start(job)
                _say_page(page, port)
            _say(addresses, store)
            if not servers_only:
                asyncio.run(until_polled(addresses, asked.is_set))
            if not asked.is_set():
                _say_running(servers_only)
            asked.wait()
        finally:
            typer.echo("stopping …", err=True)
            supervisor.stop()
    if supervisor.failed is not None:
        name, code = supervisor.failed
        raise EmbeddedError(
            f"the {name} does not stay up (it last ended with {described(code)}), so everything was stopped; "
            f"what it last said is above, and logs are in {directory / 'logs'}. Mend that, and start "
            "`timeline dev` again: the data is kept"
        )


def _tell(text: str) -> None:
    """Log what has ended: the first line as the event, the last lines of its own log beside it."""
    event, _, output = text.partition("\n")
    _log.warning(event, **({"output": output} if output else {}))


def jobs(
    log_directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    page_port: int | None = None,
) -> list[Job]:
    """The worker, the feeder and, with a port, the web server of the page, in the order to start them."""

    def job(name: str, *command: str) -> Job:
        log = None if log_directory is None else log_directory / f"{name}.log"
        return Job(name, [sys.executable, "-m", *command], log, environment or {})

    found = [job("worker", "timeline_workers", "worker"), job("feeder", "feeder")]
    if page_port is not None:
        found.append(job("web server", "timeline_workers", "serve", "--quiet", "--port", str(page_port)))
    return found


def has_web() -> bool:
    """Whether what serves the page is installed: the extra ``[web]``."""
    return all(find_spec(name) for name in ("fastapi", "uvicorn", "websockets"))


def _say_page(wanted: bool, port: int | None) -> None:
    if port is not None:
        typer.echo(f"page      http://127.0.0.1:{port}", err=True)
    elif wanted:
        typer.echo(f"page      not served; to have it: {INSTALL}", err=True)


def environment_of(addresses: Addresses) -> dict[str, str]:
    """The settings that make any of our programs use these servers."""
    return {
        "TEMPORAL_ADDRESS": addresses.temporal,
        "TIMELINE_PULSAR_URL": addresses.pulsar,
        "TIMELINE_DATA_DIR": str(addresses.data_dir),
        HistorySettings.variable("history"): addresses.history or OFF,
    }


def _history(directory: Path, wanted: bool) -> str | None:
    """The address of the history store of this run; None for none."""
    said = HistorySettings.from_env().history
    if not wanted or (said is not None and said.get_secret_value() == OFF):
        return None
    return sqlite_address(directory / HISTORY_FILE) if said is None else said.get_secret_value()


async def _make(store: str) -> None:
    """Make the history store where there is none: the page looks at one before anything is fed."""
    try:
        await (await open_history(store)).close()
    except HistoryError as error:
        if not error.may_pass:
            raise
        _log.warning("the history store does not open yet", store=shown_address(store), error=str(error))


def _pulsar_log(directory: Path) -> dict[str, str]:
    """The setting that keeps the lines of Pulsar's client library off the terminal, unless one is made."""
    name = PulsarAccess.variable("log")
    if os.environ.get(name):
        return {}
    file = directory / "logs" / "pulsar-client.log"
    file.write_bytes(b"")  # as the logs of the servers, it begins with the start
    return {name: str(file)}


def _say(addresses: Addresses, history: str | None) -> None:
    lines = [
        f"Temporal  {addresses.temporal}   UI {addresses.ui}",
        f"Pulsar    {addresses.pulsar}",
        f"data      {addresses.data_dir}",
        "history   " + ("off" if history is None else shown_address(history)),
    ]
    typer.echo("\n".join(lines), err=True)


def _say_running(servers_only: bool) -> None:
    what = "the servers" if servers_only else "the servers, a worker and the feeder"
    typer.echo(f"running   {what}\nCtrl-C stops everything.", err=True)


def _status(directory: Path) -> int:
    running = running_addresses(directory)
    if running is None:
        typer.echo(f"nothing runs in {directory}; start it with `timeline dev`", err=True)
        return ExitCode.FAILED
    found = asyncio.run(look(running))
    problems = [f"{one.name}: {one.problem}" for one in found if one.problem is not None]
    processes = [{**asdict(one), "ok": one.problem is None} for one in found]
    typer.echo(json.dumps({**running.model_dump(mode="json"), "ok": not problems, "processes": processes}))
    for problem in problems:
        typer.echo(problem, err=True)
    return ExitCode.UNREACHABLE if problems else ExitCode.OK


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
        raise EmbeddedError(
            f"process {running.pid} is still stopping after {STOP_SECONDS:.0f} s; its log is in "
            f"{directory / 'logs'}. Wait, or end it with `kill -9 {running.pid}`: the data is kept"
        )
    typer.echo(f"stopped what ran in {directory}; the data is kept", err=True)
    return ExitCode.OK
