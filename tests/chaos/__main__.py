"""``python -m tests.chaos``: one run under chaos; exit code 0 when there was no difference, else 1."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import tempfile
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, cast

import typer
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from tests.chaos.faults import KINDS
from tests.chaos.harness import Options, Report, run
from tests.chaos.recording import STORES, StoreName
from tests.chaos.scenes import scenes
from tests.chaos.stacks import TOPIC_PARTITIONS, stack_of
from tests.chaos.staging import SceneReport, play
from timeline_workers.process.exit import leave

T = TypeVar("T")


class Broker(StrEnum):
    """Which broker a run uses."""

    embedded = "embedded"
    pulsar = "pulsar"


def main(
    seed: Annotated[
        int | None, typer.Option(help="Draws events, kills and questions.", show_default="any")
    ] = None,
    seconds: Annotated[float, typer.Option(min=5, help="How long to send and kill.")] = 300.0,
    events: Annotated[int, typer.Option(min=100, help="How many messages to send.")] = 300_000,
    kills: Annotated[int, typer.Option(min=0, help="How many processes to kill.")] = 30,
    broker: Annotated[
        Broker, typer.Option(help="The embedded broker, or real Apache Pulsar.")
    ] = Broker.embedded,
    feeders: Annotated[int, typer.Option(min=1, max=4)] = 1,
    workers: Annotated[int, typer.Option(min=1, max=8)] = 2,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Temporal's four services over PostgreSQL, and real Pulsar.")
    ] = False,
    drain: Annotated[float, typer.Option(help="Seconds after the load until all must be applied.")] = 300.0,
    hand_over: Annotated[
        int, typer.Option(min=0, help="Inputs after which a worker continues as new; 0: as Temporal says.")
    ] = 50,
    faults: Annotated[
        str, typer.Option(help=f"Of which kinds the kills are, with commas: {', '.join(KINDS)}.")
    ] = "kill",
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of each metric.", show_default="4, and once 3")
    ] = None,
    topic_partitions: Annotated[int, typer.Option(min=1, help="Partitions of the topic.")] = TOPIC_PARTITIONS,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Hold `timeline get` against the truth, and ask every worker, each second."
        ),
    ] = False,
    history: Annotated[
        str | None,
        typer.Option(
            help=f"A history store, which is killed, too: {' or '.join(STORES)}.", show_default="none"
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="So often all of it, on the same data; each has its report.")
    ] = 1,
    data: Annotated[
        Path | None, typer.Option(help="Where data and logs go; kept.", show_default="a temporary directory")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the report as JSON.")
    ] = None,
    scene: Annotated[
        list[str] | None,
        typer.Option(help="Play this scene instead (NAME or NAME:ACT; repeatable); all: every one."),
    ] = None,
    report_dir: Annotated[
        Path | None, typer.Option(help="Directory for a report of every scene, or of every round.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what has a report in --report-dir already.")
    ] = False,
) -> None:
    """Run the whole system, kill its processes at random, and hold everything against the oracle.

    Stops by itself, and takes every process it has started with it, also on Ctrl-C. The seed is printed: the
    same seed and options give the same events and the same kills.
    """
    chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
    if scene:
        _be_quiet()
        _play(scene, chosen, data, output, report_dir, resume)
    kinds = tuple(faults.split(","))
    if strange := set(kinds) - set(KINDS):
        raise typer.BadParameter(f"{', '.join(strange)}: there are {', '.join(KINDS)}", param_hint="--faults")
    if history is not None and history not in STORES:
        raise typer.BadParameter(f"{history}: there are {', '.join(STORES)}", param_hint="--history")
    options = Options(
        chosen, seconds, events, kills, workers, feeders, drain, hand_over or None, kinds, partitions, watch,
        rounds, cast("StoreName | None", history),
    )  # fmt: skip
    _check_resumed(report_dir, resume, data)
    if data is None:
        directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        directory.chmod(0o755)  # PostgreSQL may run under another account
    else:
        directory = data
        directory.mkdir(parents=True, exist_ok=True)
    real = cluster or broker is Broker.pulsar
    name = f"{'a cluster' if cluster else 'the dev server'} and {'Pulsar' if real else 'the embedded broker'}"
    stack = stack_of(directory, real_broker=real, cluster=cluster, partitions=topic_partitions)
    _be_quiet()
    try:
        report = asyncio.run(
            _interruptible(run(options, stack, name, lambda line: typer.echo(line, err=True), report_dir))
        )
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo(f"chaos: interrupted; data and logs are in {directory}", err=True)
        leave(130)
    if output is not None:
        output.write_text(report.json() + "\n")
    tell(report)
    if report.ok and data is None:
        shutil.rmtree(directory, ignore_errors=True)
    elif not report.ok:
        typer.echo(f"data and logs are in {directory}; again: --seed {chosen}", err=True)
    leave(0 if report.ok else 1)


def _check_resumed(reports: Path | None, resume: bool, data: Path | None) -> None:
    """Reports of rounds belong to the data that they were made on."""
    if reports is None:
        return
    reports.mkdir(parents=True, exist_ok=True)
    there = list(reports.glob("round-*.json"))
    if there and not resume:
        raise typer.BadParameter(
            f"{reports} has the reports of {len(there)} rounds; --resume goes on after them, or give another"
        )
    if there and data is None:
        raise typer.BadParameter(f"the rounds in {reports} were run on data that --data has to name")


def _be_quiet() -> None:
    # The client library would tell of every attempt while a server is away.
    quiet = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=quiet)))


def _play(
    names: list[str], seed: int, data: Path | None, output: Path | None, reports: Path | None, resume: bool
) -> NoReturn:
    """Play scenes one after another; ends the process."""
    known = scenes()
    chosen: dict[str, list[str]] = {}
    for name in known if names == ["all"] else names:
        title, _, act = name.partition(":")
        if title not in known or (act and act not in {a.name for a in known[title].acts}):
            raise typer.BadParameter(f"there is no scene {name!r}; there are {', '.join(known)}, and all")
        chosen.setdefault(title, []).extend([act] if act else [])
    if reports is not None:
        reports.mkdir(parents=True, exist_ok=True)
    found: list[SceneReport] = []
    for name, acts in chosen.items():
        file = None if reports is None else reports / f"{name}.json"
        if resume and file is not None and file.exists():
            typer.echo(f"{name}: has a report", err=True)
            continue
        directory = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-")) if data is None else data / name
        shutil.rmtree(directory, ignore_errors=True)  # a scene begins with nothing
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        scene = known[name]
        stack = scene.on(directory)
        try:
            report = asyncio.run(
                _interruptible(play(scene, seed, stack, lambda line: typer.echo(line, err=True), acts))
            )
        except (KeyboardInterrupt, asyncio.CancelledError):
            typer.echo(f"chaos: interrupted; data and logs are in {directory}", err=True)
            leave(130)
        found.append(report)
        if file is not None:
            file.write_text(report.json() + "\n")
        for line in report.shown:
            typer.echo(f"  {line}")
        typer.echo(
            f"{name}: {'ok' if report.ok else 'NOT OK'} in {report.seconds:.0f} s; differences "
            f"{report.differences or 'none'}; `get` {report.gets}"
            f"{'; ' + report.trouble if report.trouble else ''}"
        )
        if report.ok and data is None:
            shutil.rmtree(directory, ignore_errors=True)
        elif not report.ok:
            typer.echo(f"data and logs are in {directory}; again: --scene {name} --seed {seed}", err=True)
    if output is not None:
        output.write_text("[" + ",\n".join(report.json() for report in found) + "]\n")
    leave(0 if all(report.ok for report in found) else 1)


async def _interruptible(running: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(running)
    # As Ctrl-C does: what is running is cancelled, and every process is stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def tell(report: Report) -> None:
    """Print what matters of a report."""
    rate = report.stored / report.load_seconds if report.load_seconds else 0.0
    typer.echo(f"seed        {report.options['seed']} on {report.stack}")
    typer.echo(f"kills       {sum(report.killed.values())}: {dict(report.killed)}")
    typer.echo(f"events      {report.stored:,} stored, {rate:,.0f}/s for {report.load_seconds:.0f} s")
    typer.echo(f"drained     in {report.drain_seconds:.1f} s")
    typer.echo(f"accepted    {report.accepted}")
    for metric, reasons in report.refused.items():
        typer.echo(
            f"refused     {metric}: {sum(reasons.values()):,}, of these late {reasons.get('late', 0):,}"
        )
    typer.echo(f"letters     {report.letters:,}, {report.letters_twice:,} of them more than once")
    typer.echo(f"questions   {report.questions}")
    typer.echo(
        f"workers     {report.workers}; processes that ended by themselves: {report.ended_by_themselves}"
    )
    typer.echo(f"cured       {report.cured}")
    typer.echo(f"compared    {report.compared}")
    if report.history:
        typer.echo(f"history     {report.history}")
    for line in report.shown:
        typer.echo(f"  {line}")
    typer.echo(f"differences {report.differences or 'none'}")


if __name__ == "__main__":
    typer.run(main)
