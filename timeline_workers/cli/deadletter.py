"""``timeline deadletter list|show|replay``: the events that were not applied, why, and sending them again."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pulsar
import typer

from timeline_workers.errors import EventError, MetricError, QuestionError
from timeline_workers.events.times import from_microseconds, to_microseconds
from timeline_workers.language.durations import parse_duration
from timeline_workers.servers.pulsar.dead_letters import Letter, read_letters, read_replayed, replaying
from timeline_workers.servers.pulsar.pulsar_client import connect, pulsar_url

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

    A letter that several metrics refused counts for each of them.
    """
    rows: list[dict[str, Any]] = []
    with _reading(topics, metric) as (client, url, names):
        for topic in names:
            replayed = read_replayed(client, url, topic)
            groups: dict[tuple[str, str], list[Letter]] = defaultdict(list)
            for letter in _chosen(read_letters(client, url, topic), reason, metric, since):
                for refuser in letter.metrics:
                    if metric in (None, refuser):
                        groups[letter.reason, refuser].append(letter)
            rows += [
                {
                    "topic": topic,
                    "reason": why,
                    "metric": refuser,
                    "letters": len(found),
                    "replayed": sum(letter.place in replayed for letter in found),
                    "first": _iso(min(letter.published for letter in found)),
                    "last": _iso(max(letter.published for letter in found)),
                }
                for (why, refuser), found in sorted(groups.items())
            ]
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
    rows: list[dict[str, Any]] = []
    left_out = 0
    with _reading(topics, metric) as (client, url, names):
        for topic in names:
            replayed = read_replayed(client, url, topic)
            found = _chosen(read_letters(client, url, topic), reason, metric, since, position)
            left_out += max(0, len(found) - limit)
            rows += [_shown(letter, replayed.get(letter.place)) for letter in found[:limit]]
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
    with _reading(topics, metric) as (client, url, names):
        if len(names) > 1:
            raise QuestionError(f"name one topic; there are {', '.join(names)}")
        topic = names[0]
        chosen = _chosen(read_letters(client, url, topic), reason, metric, since, position)
        payload = None if file is None else _content(file, chosen)
        if dry_run:
            done = {} if again else read_replayed(client, url, topic)
            left = [letter for letter in chosen if letter.place not in done]
            if left:
                _warn(topic, left, payload)
            _say_replay(topic, left, {}, len(chosen), output, dry_run=True)
            return
        with replaying(client, url, topic) as under_way:
            left = [letter for letter in chosen if again or letter.place not in under_way.done]
            if left:
                _warn(topic, left, payload)
                _confirm(len(left), topic, yes)
            sent = under_way.send(left, payload)
    _say_replay(topic, left, sent, len(chosen), output)


@contextmanager
def _reading(
    topics: Sequence[str] | None, metric: str | None
) -> Iterator[tuple[pulsar.Client, str, list[str]]]:
    """A client, its broker's URL, and the topics that are meant."""
    names = list(dict.fromkeys(topics or asyncio.run(_topics(metric))))
    url = pulsar_url()
    with closing(connect(url, quiet=True)) as client:
        yield client, url, names


async def _topics(metric: str | None) -> list[str]:
    """The topics of the applied metrics, or of ``metric``."""
    from timeline_workers.servers.temporal.temporal_client import connect as connect_temporal
    from workflows.client import ask

    client = await connect_temporal()
    if metric is not None:
        return [(await ask.find_metric(client, metric)).source.topic]
    found = [entry.metric.source.topic for entry in await ask.registered(client)]
    if not found:
        raise QuestionError("no metric is applied; name a topic")
    return found


def _chosen(
    letters: Sequence[Letter],
    reasons: Sequence[str] | None,
    metric: str | None,
    since: str | None,
    positions: Sequence[str] | None = None,
) -> list[Letter]:
    """Those that fit every filter; raises QuestionError when there is none at a given position."""
    start = None if since is None else _since(since)
    if unknown := set(positions or ()) - {letter.place for letter in letters}:
        raise QuestionError(
            f"there is no dead letter of position {min(unknown)}; a position is "
            "partition:ledger:entry:index, as `timeline deadletter show` prints it"
        )
    return [
        letter
        for letter in letters
        if (not reasons or letter.reason in reasons)
        and (metric is None or metric in letter.metrics)
        and (start is None or letter.published >= start)
        and (not positions or letter.place in positions)
    ]


def _since(text: str) -> float:
    """A publish time in milliseconds, from ISO 8601, seconds since the epoch, or how long ago it was."""
    try:
        return (datetime.now(UTC) - timedelta(microseconds=parse_duration(text))).timestamp() * 1000
    except (MetricError, OverflowError):
        pass
    try:
        return to_microseconds(float(text), "s") / 1000
    except ValueError:
        pass
    except EventError as error:
        raise QuestionError(f"--since {text}: {error}") from None
    try:
        return to_microseconds(text, "iso") / 1000
    except EventError:
        raise QuestionError(
            f"--since {text}: write ISO 8601, seconds since the epoch, or how long ago, such as 2h"
        ) from None


def _narrowed(reasons: Sequence[str] | None, *filters: object) -> str:
    return " that fit the filters" if reasons or any(filters) else ""


def _iso(published: int) -> str:
    return str(from_microseconds(published * 1000, "iso"))


def _shown(letter: Letter, replayed: str | None) -> dict[str, Any]:
    try:
        payload = {"payload": letter.payload.decode()}
    except UnicodeDecodeError:
        payload = {"payload_base64": base64.b64encode(letter.payload).decode()}
    return {
        "topic": letter.topic,
        "position": letter.place,
        "key": letter.key,
        "reason": letter.reason,
        "message": letter.message,
        "metrics": ", ".join(letter.metrics),
        "written": _iso(letter.published),
        "replayed": replayed,
        **payload,
    }


def _content(file: Path, letters: Sequence[Letter]) -> bytes:
    if len(letters) != 1:
        raise QuestionError(
            f"--file is for one letter, and {len(letters)} are chosen; name it with --position"
        )
    return file.read_bytes()


def _warn(topic: str, letters: Sequence[Letter], payload: bytes | None) -> None:
    from .forecast import forecast

    for line in asyncio.run(forecast(topic, letters, payload)).lines(topic):
        complain(line)


def _confirm(count: int, topic: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise QuestionError(
            f"{count} letters would be sent to {topic}; add --yes to do it without being asked"
        )
    typer.confirm(f"Send {count} letters to {topic} again?", abort=True, err=True)


def _say_replay(
    topic: str,
    letters: Sequence[Letter],
    sent: Mapping[str, str],
    chosen: int,
    output: Output,
    dry_run: bool = False,
) -> None:
    """One row for each letter, and a line about all of them."""
    if letters:
        emit(
            (
                {
                    "topic": topic,
                    "position": x.place,
                    "key": x.key,
                    "reason": x.reason,
                    "sent": sent.get(x.place),
                }
                for x in letters
            ),
            output,
        )
    before = chosen - len(letters)
    what = f"{len(letters)} letters would be sent" if dry_run else f"{len(sent)} letters are sent"
    kept = f"; {before} were replayed before and are left out, --again takes them, too" if before else ""
    complain(f"{what} to {topic} again{kept}")
