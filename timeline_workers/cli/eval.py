"""``timeline eval``: answers for a file of events, with no server; ``timeline validate``: a metric file."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from pydantic import BaseModel

from timeline_workers.errors import QuestionError
from timeline_workers.evaluation import Result
from timeline_workers.events.rules import Limits
from timeline_workers.events.times import read_time
from timeline_workers.metric.load import ALERT, NETWORK, SOURCE, TARGET, kind_of_file, load_source
from timeline_workers.metric.model import Metric, Source, TimeUnit
from timeline_workers.plan.physical import plan
from timeline_workers.process.counted import counted

from .definitions import SourceOption, finder, load
from .in_file import naming
from .output import ExitCode, Output, OutputOption, complain, emit

_BATCH = 250_000  # the larger, the fewer times each key is looked at
_BATCH_BYTES = 64 << 20
_BIG_FILE = 16 << 20  # bytes from which a progress bar is worth looking at


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("eval", no_args_is_help=True)(evaluate_file)
    app.command("validate", no_args_is_help=True)(validate)


def evaluate_file(
    events: Annotated[
        str, typer.Option(metavar="FILE", help="JSON lines, one event a line; - is standard input.")
    ],
    expression: Annotated[
        str | None, typer.Argument(metavar="EXPR", help="A timeline expression, or @FILE with one in it.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The key's field, dotted for nested ones.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The event time's field, likewise.")
    ] = None,
    time_unit: Annotated[
        TimeUnit | None, typer.Option(help="Of event times, questions and answers.", show_default="s")
    ] = None,
    metric: Annotated[
        Path | None,
        typer.Option(
            "--metric", "-f", metavar="FILE", help="A metric file, instead of EXPR, --key and --time."
        ),
    ] = None,
    source: SourceOption = None,
    at: Annotated[
        list[str] | None, typer.Option(metavar="T", help="The value at this instant; may be repeated.")
    ] = None,
    spans: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="The spans over [A, B).")
    ] = None,
    change: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="The change over [A, B).")
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="D", help="With --change: per interval of this length, such as 1m.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Only this key; may be repeated.")
    ] = None,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="The events come newest first, as in many exports.")
    ] = False,
    output: OutputOption = Output.json,
) -> None:
    """Evaluate an expression over a file of events.

    An event's position is its place in the input: of one key's events at one instant the last is the latest,
    and with --newest-first the first. Bad events take no part: stderr names them with their line. With a
    metric file its source says how events are read, but not how late they may come: a file has no watermark.
    """
    if sum(question is not None for question in (at or None, spans, change)) != 1:
        raise QuestionError("ask one thing: --at T, --spans A B, or --change A B")
    if every is not None and change is None:
        raise QuestionError("--every goes with --change A B")
    wanted = _wanted(metric, source, expression, key, time, time_unit)
    times = [read_time(text, wanted.source.time_unit) for text in at or spans or change or ()]
    with nullcontext() if metric is None else naming(metric):
        result = Result(
            wanted.expression,
            key=wanted.source.key,
            time=wanted.source.time,
            time_unit=wanted.source.time_unit,
            columns=wanted.source.columns or None,
            newest_first=newest_first,
            changelog=wanted.source.changelog,
        )
    with ExitStack() as stack:
        refused = _read(result, events, open_events(events, stack))
    keys = result.keys() if only is None else [name for text in only for name in result.named(text)]

    def answers() -> Iterator[BaseModel]:
        for name in keys:
            for function in result.aggregates or (None,):
                if at:
                    yield from (result.value_at(name, t, aggregate=function) for t in times)
                elif spans:
                    yield result.spans(name, times[0], times[1], aggregate=function)
                else:
                    found = result.change(name, times[0], times[1], every, aggregate=function)
                    yield from found if isinstance(found, list) else [found]

    _warn(result, wanted, events, newest_first=newest_first)
    emit(answers(), output)
    if result.missing:
        unfit = Counter(f"{one.column} {one.reason}" for one in result.missing)
        found = ", ".join(f"{count:,} {what}" for what, count in unfit.most_common())
        complain(f"values that did not fit and counted as missing: {found}")
    if refused:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in refused.most_common())
        total = counted(result.accepted + refused.total(), "event")
        was = "was" if refused.total() == 1 else "were"
        complain(f"{refused.total():,} of {total} {was} bad: {reasons}")
        raise typer.Exit(ExitCode.BAD_EVENTS)


def validate(
    metric: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.yaml",
            help="A file of a metric, a source, a rule or target of alerts, or a network.",
        ),
    ],
    source: SourceOption = None,
) -> None:
    """Check a metric file: its fields, its expression for the declared columns, and the size of its graph.

    A file of a rule is checked like the metric that it tells of, and its templates are; one of a network with
    everything in it.
    """
    kind = kind_of_file(metric)
    if kind == SOURCE:
        with naming(metric):
            typer.echo(f"{metric}: source {load_source(metric).name} is valid")
        return
    if kind == TARGET:
        from timeline_workers.targets.target_files import load_target

        with naming(metric):
            typer.echo(f"{metric}: target {load_target(metric).name} is valid")
        return
    if kind == ALERT:
        # Not with the module: it takes templates along, which other commands do without.
        from timeline_workers.alerts.rule_files import load_rule

        with naming(metric):
            rule = load_rule(metric, finder(source))
            plan(rule.metric)
        typer.echo(f"{metric}: rule {rule.name} is valid")
        return
    if kind == NETWORK:
        from timeline_workers.streams.network_file import load_network

        wiring = load_network(metric)
        for unread in wiring.unread:
            complain(f"note: nothing reads {unread}")
        typer.echo(f"{metric}: network {wiring.network.network} is valid; no cluster runs networks yet")
        return
    loaded = load(metric, source)
    with naming(metric):
        plan(loaded)
    typer.echo(f"{metric}: metric {loaded.name} is valid")


def _wanted(
    file: Path | None,
    source_files: list[Path] | None,
    expression: str | None,
    key: str | None,
    time: str | None,
    unit: TimeUnit | None,
) -> Metric:
    """What is to be computed, from a metric file or from what was said instead of one."""
    said = {"EXPR": expression, "--key": key, "--time": time}
    if file is not None:
        if given := [name for name, value in {**said, "--time-unit": unit}.items() if value is not None]:
            raise QuestionError(f"{', '.join(given)}: the file of --metric says it already; leave it out")
        return load(file, source_files)
    if expression is None or key is None or time is None:
        lacking = ", ".join(name for name, value in said.items() if value is None)
        raise QuestionError(
            f"{lacking} is missing; give EXPR, --key and --time, or a metric file: --metric FILE"
        )
    # Not validated: what is wrong with an expression or a field is for its own error to say.
    source = Source.model_construct(key=key, time=time, time_unit=unit or "s", columns={})
    return Metric.model_construct(name="expression", source=source, expression=_expression(expression))


def _expression(argument: str) -> str:
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise QuestionError(f"cannot read the expression in {argument[1:]}: {reason}") from None


def _warn(result: Result, wanted: Metric, name: str, *, newest_first: bool) -> None:
    """Say what is no mistake by itself, and makes answers empty or unknown all the same."""
    if not result.seen:
        complain(f"note: there are no events in {'standard input' if name == '-' else name}")
    if result.order_problem:
        remedy = (
            "leave out --newest-first" if newest_first else "if they come newest first, say --newest-first"
        )
        complain(f"warning: {result.order_problem}; {remedy}")
    if result.accepted and not result.rejected:
        for column in result.unmet_columns:
            spec = wanted.source.columns.get(column)
            path = column if spec is None else spec.path or column
            where = repr(path) if path == column else f"{path!r}, the path of column {column}"
            complain(f"note: no event has a value at {where}, which the expression uses; is the name right?")


def open_events(name: str, stack: ExitStack) -> BinaryIO:
    """The events in the file ``name``, - being standard input. Raises QuestionError."""
    if name == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(name, "rb"))
    except OSError as error:
        raise QuestionError(f"cannot read the events in {name}: {error.strerror}") from None


def _read(result: Result, name: str, file: BinaryIO) -> Counter[str]:
    """Add all lines to ``result``, naming the bad ones on stderr; return how many there were by reason."""
    refused: Counter[str] = Counter()
    shown = "standard input" if name == "-" else name
    with _Progress(name) as progress:
        for lines, numbers, size in batches_of_lines(file):
            first = result.seen
            for reject in result.add(list(lines)):
                refused[reject.reason] += 1
                complain(f"{shown}, line {numbers[reject.row - first]}: {reject.reason}: {reject.message}")
            progress.advance(size)
    return refused


def batches_of_lines(file: BinaryIO) -> Iterator[tuple[list[bytes], list[int], int]]:
    """Yield lines, their numbers and their size in bytes; blank lines are skipped, and counted as lines."""
    longest = Limits().event_bytes + 2  # more of a line is not kept: the event is refused for its size
    lines: list[bytes] = []
    numbers: list[int] = []
    number = size = 0
    while line := file.readline(longest):
        number += 1
        size += len(line)
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        rest = line
        while len(rest) == longest and not rest.endswith(b"\n"):
            rest = file.readline(longest)
            size += len(rest)
        if not line.isspace():
            lines.append(line)
            numbers.append(number)
        if len(lines) == _BATCH or size >= _BATCH_BYTES:
            yield lines, numbers, size
            lines, numbers, size = [], [], 0
    if lines:
        yield lines, numbers, size


class _Progress:
    """A bar on stderr while a big file is read by somebody who is looking."""

    def __init__(self, name: str) -> None:
        path = Path(name)
        size = path.stat().st_size if name != "-" and path.is_file() else 0
        self._stack = ExitStack()
        self._advance = None
        if size >= _BIG_FILE and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            bar = self._stack.enter_context(Progress(console=Console(stderr=True), transient=True))
            task = bar.add_task("reading events", total=size)
            self._advance = lambda count: bar.advance(task, count)

    def advance(self, size: int) -> None:
        """Show that ``size`` more bytes are done."""
        if self._advance is not None:
            self._advance(size)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
