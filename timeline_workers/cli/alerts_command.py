"""``timeline alerts``: the episodes and messages of rules that run, and what a rule would have sent over a
file of events, with no server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from timeline_workers.alerts.rule_files import load_rule
from timeline_workers.client import AlertEpisode, AlertMessage, AlertsSeen, RuleDescription
from timeline_workers.events.times import question_time, read_time
from timeline_workers.process.counted import counted
from timeline_workers.rule_trial.backtest import Backtest
from timeline_workers.rule_trial.trial_files import refuse_changelog_rule
from timeline_workers.rule_trial.virtual_run import described

from .cluster import AddressOption, NamespaceOption, with_client
from .definitions import SourceOption, finder
from .eval import batches_of_lines, open_events
from .output import ExitCode, Output, OutputOption, complain, emit


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r:.60} is no instant; write one as 2026-12-01T08:00:00Z") from None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    alerts = typer.Typer(no_args_is_help=True, help="Rules of alerts.")
    alerts.command("get")(get)
    alerts.command("describe", no_args_is_help=True)(describe)
    alerts.command("history")(history)
    alerts.command("mute", no_args_is_help=True)(mute)
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


RuleArgument = Annotated[str, typer.Argument(metavar="RULE", help="The name of an applied rule.")]
RulesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="RULE...", help="Applied rules.", show_default="all")
]


def get(
    rules: RulesArgument = None,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the episodes that go on: of which rule and key, since when, and for how long.

    Where the worker of a rule does not answer, that is said, and the exit code is 3.
    """
    seen: AlertsSeen = with_client(address, namespace, lambda client: client.alerts(*(rules or ())))
    if output is Output.table:
        emit([_row(one) for one in seen.episodes], output)
    else:
        emit([one.model_dump(mode="json") for one in seen.episodes], output)
    if not seen.episodes:
        complain("no episode goes on")
    for worker, why in seen.unanswered:
        complain(f"warning: {worker} does not answer, so its episodes are not listed: {why}")
    if seen.unanswered:
        raise typer.Exit(ExitCode.DOUBTFUL)


def _row(one: AlertEpisode) -> dict[str, Any]:
    return {
        "rule": one.rule,
        "key": one.key,
        "since": _second(one.start),
        "for": _lasting(one.seconds),
        "told": "yes" if one.heard else "muted",
    }


def _second(time: str | None) -> str | None:
    # Seconds are enough for people; programs read JSON.
    return None if time is None else f"{time.partition('.')[0].removesuffix('Z')}Z"


def _lasting(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s" if minutes else f"{rest}s"


def describe(
    rule: RuleArgument,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Only of this key.")] = None,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show a rule that runs: how it is, its episodes, its last messages, its mutes and its next change."""
    found: RuleDescription = with_client(address, namespace, lambda client: client.describe_rule(rule, key))
    if output is Output.json:
        emit([found.model_dump(mode="json")], output)
        return
    typer.echo(f"rule {found.rule}: {found.expression}")
    typer.echo(f"tells {', '.join(found.to) or 'nobody'}, as of the {found.as_of}, {found.when}")
    typer.echo(f"state: {found.state}")
    for cause in found.causes:
        typer.echo(f"  {cause}")
    for worker in found.workers:
        until = f"as of {_second(worker.as_of)}" if worker.as_of else "it knows no instant yet"
        typer.echo(f"{worker.worker}: {until}")
        if worker.next_change:
            typer.echo(f"  next change without an event: {_second(worker.next_change)}")
        if worker.silent:
            typer.echo(f"  it tells nothing now: {worker.silent}")
    for glob, end in found.mutes:
        typer.echo(f"muted: {glob} until {_second(end)}")
    if found.episodes:
        typer.echo()
        emit([{**_row(one), "until": _second(one.end)} for one in found.episodes], output)
    if found.messages:
        typer.echo()
        emit([_line(one) for one in found.messages], output)


def history(
    rules: RulesArgument = None,
    key: Annotated[str | None, typer.Option("--key", metavar="GLOB", help="Only of such keys.")] = None,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the last messages of rules, oldest first: each worker of a rule keeps its last 100."""
    found: list[AlertMessage] = with_client(
        address, namespace, lambda client: client.alert_messages(*(rules or ()), key=key)
    )
    if output is Output.json:
        emit([one.model_dump(mode="json") for one in found], output)
    else:
        emit([{"rule": one.rule, **_line(one)} for one in found], output)


def _line(one: AlertMessage) -> dict[str, Any]:
    return {
        "at": _second(one.at),
        "kind": f"{one.kind} (page)" if one.page else f"{one.kind} (muted)" if one.muted else one.kind,
        "key": one.key,
        "start": _second(one.start),
    }


def mute(
    rule: RuleArgument,
    until: Annotated[
        datetime, typer.Option(metavar="T", help="An instant, such as 2026-12-01T08:00:00Z.", parser=_instant)
    ],
    key: Annotated[str, typer.Option("--key", metavar="GLOB", help="Only keys that match it.")] = "*",
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Tell nobody of what begins in some keys of a rule before an instant.

    It is in the catalog only: applying the rule's file again replaces it by what that says.
    """
    with_client(address, namespace, lambda client: client.mute(rule, key, until))
    typer.echo(f"rule {rule}: {key} is muted until {until.isoformat()}")
