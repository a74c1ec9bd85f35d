"""The ``timeline`` command: puts the commands together, and turns errors into messages and exit codes."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Annotated, NoReturn

import typer

import timeline_workers
from timeline_workers.errors import ConnectionFailedError, TimelineError
from timeline_workers.process.exit_codes import ExitCode, exit_code
from timeline_workers.process.help_form import with_plain_help
from timeline_workers.settings.written_text import refuse_bytes

from .output import EXIT_CODES, complain, discard_stdout

# Modules and their commands. A known command loads its own module only: `timeline eval` need not wait for
# the libraries of servers it does not talk to.
_MODULES = {
    "eval": ("eval", "validate"),
    "trial_command": ("test",),
    "alerts_command": ("alerts",),
    "graph": ("graph",),
    "capacity_command": ("capacity",),
    "cluster": ("apply", "delete", "query"),
    "overview_command": ("get", "describe"),
    "published_command": ("output",),
    "outputs_command": ("outputs",),
    "worker_command": ("worker",),
    "rollout_command": ("rollout",),
    "dev": ("dev",),
    "reconcilers_command": ("reconcilers",),
    "source_command": ("source",),
    "tables_command": ("tables",),
    "deadletter": ("deadletter",),
    "serve_command": ("serve",),
    "history_command": ("history",),
    "codec_server_command": ("codec-server",),
    "feed": ("feed",),
    "produce": ("produce",),
}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"timeline {timeline_workers.__version__}")
        raise typer.Exit


def build(command: str = "") -> typer.Typer:
    """The command line: with all commands, or with those of the module that has ``command``."""
    app = typer.Typer(
        name="timeline",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Time-state analytics: timeline expressions over events, as graphs of durable workers.",
        epilog=EXIT_CODES,
    )

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        pass

    modules = [name for name, commands in _MODULES.items() if command in commands] or _MODULES
    for name in modules:
        module, (first, *_) = import_module(f".{name}", __package__), _MODULES[name]
        if first in ("graph", "capacity"):
            app.command(first, no_args_is_help=True)(getattr(module, first))
        else:
            module.register(app)
    return with_plain_help(app)


def main() -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    code: int
    try:
        refuse_bytes(sys.argv[1:])
        command = sys.argv[1] if len(sys.argv) > 1 else ""
        gc.disable()  # to look for garbage among what is imported takes a seventh of a start
        run = build(command)
        gc.freeze()
        gc.enable()
        _configure_logging("producer" if command == "produce" else "timeline")
        run()
        code = ExitCode.OK
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else ExitCode.FAILED
    except TimelineError as error:
        complain(f"error: {_advised(error)}")
        code = exit_code(error)
    except BrokenPipeError:
        code = ExitCode.OK
    except OSError as error:
        complain(f"error: {error}")
        code = ExitCode.FAILED
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    _leave(code)


def _advised(error: TimelineError) -> str:
    """The message of ``error``, with what `timeline dev` does about it where it runs here."""
    if not isinstance(error, ConnectionFailedError) or "temporalio" not in sys.modules:
        return str(error)
    from timeline_workers.client.dev_status import by_dev

    return by_dev(str(error))


def _configure_logging(program: str) -> None:
    """Set up the log for commands whose libraries write one; the others start sooner without it."""
    if "structlog" in sys.modules:
        from timeline_workers.process.logging import configure_logging
        from timeline_workers.settings.timeline_settings import LogSettings

        configure_logging(program, LogSettings.from_env().log_level)


def _leave(code: int) -> NoReturn:
    if "temporalio" in sys.modules:
        from timeline_workers.process.exit import leave

        leave(code)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
    sys.exit(code)
