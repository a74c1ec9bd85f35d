"""``python -m producer``: send sample events to a Pulsar topic, or print them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from timeline_workers.errors import TimelineError
from timeline_workers.language.durations import parse_duration
from timeline_workers.metric.model import TimeUnit
from timeline_workers.process.counted import counted
from timeline_workers.process.exit_codes import ExitCode, exit_code
from timeline_workers.process.help_form import with_plain_help
from timeline_workers.process.logging import configure_logging
from timeline_workers.settings.timeline_settings import LogSettings
from timeline_workers.settings.written_text import refuse_bytes

from . import disorder, generate_cards, generate_playback, generate_worked_example, jsonl
from .event import Event
from .send import paced, to_pulsar, to_stdout

_LOOKED_AT = 10_000  # events, before the first is sent

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Send sample events to a Pulsar topic, or print them.",
)

Topic = Annotated[str, typer.Option("--topic", "-t", help="Topic to send to.")]
Rate = Annotated[float, typer.Option(min=0, help="Events per second; 0 for as fast as possible.")]
Stdout = Annotated[
    bool, typer.Option("--stdout", "--dry-run", help="Print JSON lines to standard output and send nothing.")
]
Start = Annotated[
    float | None,
    typer.Option(help="Time of the first events, in seconds since the epoch.", show_default="2023"),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same events.")]
Count = Annotated[int, typer.Option("--events", "-n", min=0, help="How many events.")]
Shuffle = Annotated[str, typer.Option(help="Send out of order by up to this much event time, such as 1m.")]
Late = Annotated[float, typer.Option(min=0, max=1, help="Share of events that come late.")]
LateBy = Annotated[str, typer.Option(help="How late they come.")]
Duplicates = Annotated[float, typer.Option(min=0, max=1, help="Share of events that are sent twice.")]


@app.command("sample")
def sample(
    topic: Topic = "playback-events",
    sessions: Annotated[int, typer.Option(min=1, help="How many sessions.")] = 3,
    start: Start = None,
    rate: Rate = 0,
    stdout: Stdout = False,
) -> None:
    """Whole playback events: {"event": "play", "timestamp": 1672531200, "playback_session_id": …}."""
    first = int(generate_playback.EPOCH if start is None else start)
    _deliver(generate_playback.sample(sessions, first), topic, rate, stdout, None)


@app.command("sessions")
def sessions(
    topic: Topic = "playback-events",
    events: Count = 2_000,
    sessions: Annotated[int, typer.Option(min=1, help="How many sessions.")] = 100,
    start: Start = None,
    seed: Seed = 0,
    rate: Rate = 0,
    shuffle: Shuffle = "0s",
    late: Late = 0,
    late_by: LateBy = "2h",
    duplicates: Duplicates = 0,
    stdout: Stdout = False,
) -> None:
    """Realistic playback sessions: player states, seeks, CDN changes, bitrates."""
    first = generate_playback.EPOCH if start is None else start
    made = generate_playback.sessions(sessions, events, seed=seed, start=first)
    _deliver(_disorder(made, shuffle, late, late_by, duplicates, seed), topic, rate, stdout, events)


@app.command("cards")
def cards(
    topic: Topic = "card-transactions",
    events: Count = 400,
    cards: Annotated[int, typer.Option(min=1, help="How many cards.")] = 20,
    start: Start = None,
    seed: Seed = 0,
    rate: Rate = 0,
    shuffle: Shuffle = "0s",
    late: Late = 0,
    late_by: LateBy = "2h",
    duplicates: Duplicates = 0,
    stdout: Stdout = False,
) -> None:
    """Card transactions, some of them outliers."""
    first = generate_playback.EPOCH if start is None else start
    made = generate_cards.cards(cards, events, seed=seed, start=first)
    _deliver(_disorder(made, shuffle, late, late_by, duplicates, seed), topic, rate, stdout, events)


@app.command("worked-example")
def worked_example(
    topic: Topic = "playback-events",
    session: Annotated[str, typer.Option(help="The session's key.")] = "s1",
    start: Annotated[int, typer.Option(help="Time of the first event, in seconds since the epoch.")] = 0,
    rate: Rate = 0,
    stdout: Stdout = False,
) -> None:
    """The worked example of the semantics: one session of ten events."""
    _deliver(generate_worked_example.worked_example(session, start), topic, rate, stdout, None)


@app.command("file")
def file(
    path: Annotated[
        Path, typer.Argument(help="A file of JSON lines; - for standard input.", metavar="FILE.jsonl")
    ],
    key: Annotated[str, typer.Option(help="Dotted path of the key in each event.")],
    topic: Topic = "playback-events",
    rate: Rate = 0,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Also send lines that have no key or are no JSON.")
    ] = False,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="Send from the last line to the first: an export's newest.")
    ] = False,
    time: Annotated[
        str | None, typer.Option(help="Dotted path of the event time: says when the file runs backwards.")
    ] = None,
    time_unit: Annotated[TimeUnit, typer.Option(help="Of event times.")] = "s",
    stdout: Stdout = False,
) -> None:
    """Any file of JSON lines, as it is."""

    def deliver(lines: Iterable[bytes]) -> None:
        events = jsonl.read(lines, key, lenient=lenient, newest_first=newest_first)
        if time is not None:
            first, events = jsonl.peek(events, _LOOKED_AT)
            if jsonl.run_backwards(first, time, time_unit):
                remedy = "leave out --newest-first" if newest_first else "say --newest-first"
                typer.echo(
                    f"warning: the events run backwards in time: most come late so, and those of one key at "
                    f"one instant in the wrong order; {remedy}",
                    err=True,
                )
        _deliver(events, topic, rate, stdout, None)

    if str(path) == "-":
        deliver(sys.stdin.buffer)
        return
    try:
        lines = path.open("rb")
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error
    with lines:
        deliver(lines)


def _disorder(
    events: Iterable[Event], shuffle: str, late: float, late_by: str, duplicates: float, seed: int
) -> Iterable[Event]:
    made = disorder.make_late(events, late, parse_duration(late_by) / 1e6, seed=seed)
    made = disorder.shuffle(made, parse_duration(shuffle) / 1e6, seed=seed)
    return disorder.duplicate(made, duplicates, seed=seed)


def _deliver(events: Iterable[Event], topic: str, rate: float, stdout: bool, total: int | None) -> None:
    if stdout:
        to_stdout(paced(events, rate), sys.stdout.buffer)
        sys.stdout.flush()
        return
    began = monotonic()
    count = to_pulsar(paced(events, rate), topic, total=total).count
    took = monotonic() - began
    typer.echo(
        f"{counted(count, 'event')} stored in {topic} in {took:.1f} s ({count / max(took, 1e-9):,.0f}/s)",
        err=True,
    )


def main() -> int:
    """Run the command line; return its exit code (``timeline_workers.process.exit_codes``)."""
    try:
        refuse_bytes(sys.argv[1:])
        configure_logging("producer", LogSettings.from_env().log_level)
        with_plain_help(app)(standalone_mode=True)
    except TimelineError as error:
        typer.echo(f"error: {error}", err=True)
        return exit_code(error)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has what it wanted
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
