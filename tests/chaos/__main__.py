"""``python -m tests.chaos``: one run under chaos; exit code 0 when there was no difference, else 1."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import tempfile
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from tests.chaos.harness import Options, Report, run
from tests.chaos.stacks import Stack, stack_of
from timeline_workers.process import leave


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
        int | None,
        typer.Option(help="Inputs after which a worker continues as new.", show_default="Temporal says"),
    ] = 50,
    data: Annotated[
        Path | None, typer.Option(help="Where data and logs go; kept.", show_default="a temporary directory")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the report as JSON.")
    ] = None,
) -> None:
    """Run the whole system, kill its processes at random, and hold everything against the oracle.

    Stops by itself, and takes every process it has started with it, also on Ctrl-C. The seed is printed: the
    same seed and options give the same events and the same kills.
    """
    chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
    options = Options(chosen, seconds, events, kills, workers, feeders, drain, hand_over)
    if data is None:
        directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        directory.chmod(0o755)  # PostgreSQL may run under another account
    else:
        directory = data
        directory.mkdir(parents=True, exist_ok=True)
    real = cluster or broker is Broker.pulsar
    name = f"{'a cluster' if cluster else 'the dev server'} and {'Pulsar' if real else 'the embedded broker'}"
    stack = stack_of(directory, real_broker=real, cluster=cluster)
    # The client library would tell of every attempt while a server is away.
    quiet = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=quiet)))
    try:
        report = asyncio.run(_interruptible(options, stack, name))
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


async def _interruptible(options: Options, stack: AbstractAsyncContextManager[Stack], name: str) -> Report:
    task = asyncio.ensure_future(run(options, stack, name, lambda line: typer.echo(line, err=True)))
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
    for line in report.shown:
        typer.echo(f"  {line}")
    typer.echo(f"differences {report.differences or 'none'}")


if __name__ == "__main__":
    typer.run(main)
