"""``timeline deadletter list|show|replay``: the events that were not applied, why, and sending them again."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from timeline_workers.client import DeadLetter, Replayed, TimelineClient
from timeline_workers.client.dead_letters import (
    Chosen,
    counts_of,
    letters_of,
    replay as client_replay,
    topics_of,
)
from timeline_workers.client.forecast import forecast
from timeline_workers.errors import EventError, MetricError, QuestionError
from timeline_workers.events.times import to_microseconds
from timeline_workers.language.durations import parse_duration
from timeline_workers.process.counted import counted
from timeline_workers.servers.pulsar.dead_letter_topic import Letter

from .output import Output, OutputOption, complain, emit

TopicsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="TOPIC", help="Topics of events.", show_default="those of the applied metrics"),
]
ReasonOption = Annotated[
    list[str] | None, typer.Option("--reason", help="Only letters with this reason; may be repeated.")
]
MetricOption = Annotated[str | None, typer.Option("--metric", help="Only letters that this metric refused.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        metavar="T",
        help="Only letters written since: ISO 8601, seconds since the epoch, or how long ago, such as 2h.",
    ),
]
PositionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--position",
        metavar="P",
        help="Only the letter of this position, as `deadletter show` prints it; may be repeated.",
    ),
]

app = typer.Typer(
    no_args_is_help=True, help="The events that were not applied: which, why, and sending them again."
)


def register(parent: typer.Typer) -> None:
    """Add the commands to ``parent``."""
    parent.add_typer(app, name="deadletter")


@app.command("list")
def list_letters(
    topics: TopicsArgument = None,
    reason: ReasonOption = None,
    metric: MetricOption = None,
    since: SinceOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Count dead letters by topic, reason and metric, and how many of them were replayed.

    A letter that several metrics refused counts for each of them. `replayed` is how many of the letters
    `timeline deadletter replay` has sent to their topic again.
    """
    names = _topics(topics, metric)
    rows = counts_of(names, _chosen(reason, metric, since))
    if not rows:
        complain(f"no dead letters of {', '.join(names)}" + _narrowed(reason, metric, since))
    if rows or output is Output.json:
        emit(rows, output)


@app.command("show")
def show(
    topics: TopicsArgument = None,
    reason: ReasonOption = None,
    metric: MetricOption = None,
    since: SinceOption = None,
    position: PositionOption = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Most letters to show, the first ones of each topic.")
    ] = 20,
    output: OutputOption = Output.json,
) -> None:
    """Show dead letters: the event as it was sent, where it was, why it was refused and by which metrics."""
    names = _topics(topics, metric)
    rows: list[dict[str, Any]] = []
    left_out = 0
    found = letters_of(names, _chosen(reason, metric, since, position))
    for topic in names:
        of_topic = [letter for letter in found if letter.topic == topic]
        left_out += max(0, len(of_topic) - limit)
        rows += map(_shown, of_topic[:limit])
    if not rows:
        complain(f"no dead letters of {', '.join(names)}" + _narrowed(reason, metric, since, position))
    if rows or output is Output.json:
        emit(rows, output)
    if left_out:
        complain(
            f"{left_out} more; --limit {limit + left_out} shows all, `timeline deadletter list` counts them"
        )


@app.command("replay")
def replay(
    topics: TopicsArgument = None,
    reason: ReasonOption = None,
    metric: MetricOption = None,
    since: SinceOption = None,
    position: PositionOption = None,
    all_letters: Annotated[bool, typer.Option("--all", help="All letters of the topic.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(help="Send the content of this file in the place of the one letter that is chosen."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also letters that were replayed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Send dead letters to their topic again, under their keys: after the metric or the event was mended.

    A letter is sent once, however often this is run; what was sent is remembered in
    TOPIC-dead-letter-replayed. Every metric that reads the topic gets the event, as a new one at the end of
    its partition, with the property `replay-of`. The letter stays, and counts as replayed.
    """
    if not (reason or metric or since or position or all_letters):
        raise QuestionError("say which letters: --position, --reason, --metric, --since, or --all")
    names = _topics(topics, metric)
    if len(names) > 1:
        raise QuestionError(f"name one topic; there are {', '.join(names)}")
    topic = names[0]
    done = client_replay(
        topic,
        _chosen(reason, metric, since, position),
        warn=partial(_warn, topic),
        payload_for=lambda letters: None if file is None else _content(file, letters),
        confirm=lambda count: _confirm(count, topic, yes),
        again=again,
        dry_run=dry_run,
    )
    _say_replay(done, output, dry_run=dry_run)


def _topics(topics: Sequence[str] | None, metric: str | None) -> list[str]:
    """The topics that are meant: those named, or those of the applied metrics."""
    if topics:
        return list(dict.fromkeys(topics))

    async def ask() -> list[str]:
        return await topics_of((await TimelineClient.connect()).temporal, metric)

    return asyncio.run(ask())


def _chosen(
    reasons: Sequence[str] | None,
    metric: str | None,
    since: str | None,
    positions: Sequence[str] | None = None,
) -> Chosen:
    return Chosen(
        reasons=tuple(reasons or ()),
        metric=metric,
        since=None if since is None else _since(since),
        positions=tuple(positions or ()),
    )


def _since(text: str) -> datetime:
    """An instant, from ISO 8601, seconds since the epoch, or how long ago it was."""
    try:
        return datetime.now(UTC) - timedelta(microseconds=parse_duration(text))
    except (MetricError, OverflowError):
        pass
    try:
        return _instant(to_microseconds(float(text), "s"))
    except ValueError:
        pass
    except EventError as error:
        raise QuestionError(f"--since {text}: {error}") from None
    try:
        return _instant(to_microseconds(text, "iso"))
    except EventError:
        raise QuestionError(
            f"--since {text}: write ISO 8601, seconds since the epoch, or how long ago, such as 2h"
        ) from None


def _instant(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _narrowed(reasons: Sequence[str] | None, *filters: object) -> str:
    return " that fit the filters" if reasons or any(filters) else ""


def _shown(letter: DeadLetter) -> dict[str, Any]:
    shown = letter.model_dump(exclude={"payload"}) | {"metrics": ", ".join(letter.metrics)}
    try:
        return {**shown, "payload": letter.payload.decode()}
    except UnicodeDecodeError:
        return {**shown, "payload_base64": base64.b64encode(letter.payload).decode()}


def _content(file: Path, letters: Sequence[Letter]) -> bytes:
    if len(letters) != 1:
        raise QuestionError(
            f"--file is for one letter, and {len(letters)} are chosen; name it with --position"
        )
    return file.read_bytes()


def _warn(topic: str, letters: Sequence[Letter], payload: bytes | None) -> Sequence[str]:
    async def ask() -> list[str]:
        client = await TimelineClient.connect()
        return (await forecast(client.temporal, topic, letters, payload)).lines(topic)

    lines = asyncio.run(ask())
    for line in lines:
        complain(line)
    return lines


def _confirm(count: int, topic: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise QuestionError(
            f"{counted(count, 'letter')} would be sent to {topic}; add --yes to do it without being asked"
        )
    typer.confirm(f"Send {counted(count, 'letter')} to {topic} again?", abort=True, err=True)


def _say_replay(done: Replayed, output: Output, dry_run: bool) -> None:
    """One row for each letter, and a line about all of them."""
    if done.letters:
        emit(
            (
                {
                    "topic": done.topic,
                    "position": letter.position,
                    "key": letter.key,
                    "reason": letter.reason,
                    # Of a dry run nothing is sent, and there is no position to show.
                    **({} if dry_run else {"sent": done.sent.get(letter.position)}),
                }
                for letter in done.letters
            ),
            output,
        )
    what = (
        f"{counted(len(done.letters), 'letter')} would be sent"
        if dry_run
        else f"{counted(len(done.sent), 'letter is', 'letters are')} sent"
    )
    kept = (
        f"; {counted(done.left_out, 'was', 'were')} replayed before and left out, which --again includes"
        if done.left_out
        else ""
    )
    complain(f"{what} to {done.topic} again{kept}")
