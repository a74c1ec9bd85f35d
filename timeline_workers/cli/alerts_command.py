"""``timeline alerts backtest``: what a rule would have sent over a file of events, with no server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from timeline_workers.alerts.rule_files import load_rule
from timeline_workers.events.times import question_time, read_time
from timeline_workers.process.counted import counted
from timeline_workers.rule_trial.backtest import Backtest
from timeline_workers.rule_trial.trial_files import refuse_changelog_rule
from timeline_workers.rule_trial.virtual_run import described

from .definitions import SourceOption, finder
from .eval import batches_of_lines, open_events
from .output import ExitCode, Output, OutputOption, complain, emit


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    alerts = typer.Typer(no_args_is_help=True, help="Rules of alerts.")
    alerts.command("backtest", no_args_is_help=True)(backtest)
    app.add_typer(alerts, name="alerts")


def backtest(
    rule: Annotated[Path, typer.Argument(metavar="RULE.yaml", help="A rule: kind: alert.")],
    events: Annotated[
        str, typer.Option(metavar="FILE", help="JSON lines, one event a line; - is standard input.")
    ],
    until: Annotated[
        str | None, typer.Option(metavar="T", help="Let the clock go on to T after the last event.")
    ] = None,
    source: SourceOption = None,
    output: OutputOption = Output.json,
) -> None:
    """Print the messages that a rule would have sent, in their order.

    The clock follows the events: one that lies behind the greatest time before it is late data, and takes no
    part where it is later than the source allows.
    """
    wanted = load_rule(rule, finder(source))
    refuse_changelog_rule(str(rule), wanted)
    unit = wanted.source.time_unit
    end = None if until is None else question_time(read_time(until, unit), unit)
    kinds: Counter[str] = Counter()
    pages = 0
    numbers: list[int] = []
    shown = "standard input" if events == "-" else events
    with ExitStack() as stack:
        file = open_events(events, stack)
        played = Backtest(wanted, lambda place, why: complain(f"{shown}, line {numbers[place]}: {why}"))

        def lines() -> Iterator[bytes]:
            for some, numbered, _ in batches_of_lines(file):
                numbers.extend(numbered)
                yield from some

        def told() -> Iterator[dict[str, Any]]:
            nonlocal pages
            for message in played.messages(lines(), end):
                kinds[message.kind] += 1
                pages += message.page
                yield described(wanted, message)

        emit(told(), output)
    said = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) or "nothing"
    complain(
        f"rule {wanted.name}: {counted(played.events, 'event')}: {said}; {pages:,} would have paged somebody"
    )
    if played.refused:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in played.refused.most_common())
        complain(f"{played.refused.total():,} of {counted(played.events, 'event')} took no part: {reasons}")
        raise typer.Exit(ExitCode.BAD_EVENTS)
