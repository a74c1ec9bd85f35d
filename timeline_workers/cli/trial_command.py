"""``timeline test``: tests of alert rules and of networks, with no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timeline_workers.metric.load import CALLS_TRIAL, NETWORK, kind_of_file
from timeline_workers.process.counted import counted
from timeline_workers.rule_trial.calls_trial import described_call, load_calls_trial, run_calls
from timeline_workers.rule_trial.trial_files import load_trial
from timeline_workers.rule_trial.virtual_run import described, run

from .definitions import SourceOption, finder
from .output import ExitCode, complain, emit


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("test", no_args_is_help=True)(try_rules)


def try_rules(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE.yaml...", help="Tests: kind: alert-test, or reconciler-test; or networks."
        ),
    ],
    source: SourceOption = None,
    messages: Annotated[
        bool, typer.Option("--messages", help="Print every message, or call, as JSON lines.")
    ] = False,
) -> None:
    """Test alert rules and reconcilers: events in, messages or calls expected, on a virtual clock.

    Every message or call that is there and not expected, or expected and not there, is named with its step;
    then the exit code is 1. Of a network the tests in its file are run: events in, events expected.
    """
    different = 0
    for file in files:
        kind = kind_of_file(file)
        if kind == NETWORK:
            different += _try_network(file)
            continue
        if kind == CALLS_TRIAL:
            different += _try_reconciler(file, messages)
            continue
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
        said = counted(wrong, "difference") if wrong else "as expected"
        complain(
            f"{file}: rule {rule.name}: {counted(len(steps), 'step')}, {counted(told, 'message')}: {said}"
        )
    if different:
        raise typer.Exit(ExitCode.FAILED)


def _try_reconciler(file: Path, shown: bool) -> int:
    """Try a reconciler; returns how many differences there were."""
    metric, definition, steps = load_calls_trial(file)
    outcomes = list(run_calls(metric, definition, steps))
    if shown:
        emit({"step": one.number, **described_call(call)} for one in outcomes for call in one.made)
    for one in outcomes:
        for difference in one.differences:
            complain(f"{file}: step {one.number}: {difference}")
    wrong = sum(len(one.differences) for one in outcomes)
    made = sum(len(one.made) for one in outcomes)
    said = counted(wrong, "difference") if wrong else "as expected"
    complain(
        f"{file}: reconciler of {metric.name}: {counted(len(steps), 'step')}, {counted(made, 'call')}: {said}"
    )
    return wrong


def _try_network(file: Path) -> int:
    """Run the tests of a network, and name what is different. Returns how many differences there are."""
    from timeline_workers.streams.network_file import load_network
    from timeline_workers.streams.network_trial import run_test

    wiring = load_network(file)
    tests = wiring.network.tests
    wrong = 0
    for outcome in (run_test(wiring, test) for test in tests):
        for difference in outcome.differences:
            complain(f"{file}: test {outcome.test.name!r}: {difference}")
        wrong += len(outcome.differences)
    said = counted(wrong, "difference") if wrong else "as expected" if tests else "there is nothing to run"
    complain(f"{file}: network {wiring.network.network}: {counted(len(tests), 'test')}: {said}")
    return wrong
