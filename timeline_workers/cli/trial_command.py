"""``timeline test``: trials of alert rules, with no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timeline_workers.rule_trial.trial_files import load_trial
from timeline_workers.rule_trial.virtual_run import described, run

from .definitions import SourceOption, finder
from .output import ExitCode, complain, emit


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("test", no_args_is_help=True)(try_rules)


def try_rules(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.yaml...", help="Trials: kind: alert-test.")],
    source: SourceOption = None,
    messages: Annotated[
        bool, typer.Option("--messages", help="Print every message that was told, as JSON lines.")
    ] = False,
) -> None:
    """Try alert rules: events in, messages expected, on a virtual clock.

    Every message that is told and not expected, or expected and not told, is named with its step; then the
    exit code is 1.
    """
    different = 0
    for file in files:
        rule, steps = load_trial(file, finder(source))
        outcomes = list(run(rule, steps))
        if messages:
            emit({"step": one.number, **described(rule, told)} for one in outcomes for told in one.told)
        for one in outcomes:
            for difference in one.differences:
                complain(f"{file}: step {one.number}: {difference}")
        wrong = sum(len(one.differences) for one in outcomes)
        different += wrong
        told = sum(len(one.told) for one in outcomes)
        said = f"{wrong} {'difference' if wrong == 1 else 'differences'}" if wrong else "as expected"
        complain(f"{file}: rule {rule.name}: {len(steps)} steps, {told} messages: {said}")
    if different:
        raise typer.Exit(ExitCode.FAILED)
