"""``timeline get`` and ``describe``: how metrics and their workers are, and what ails those not well."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from timeline_workers.client import MetricDescription, TimelineClient
from timeline_workers.client.dev_status import by_dev
from timeline_workers.client.models import WELL
from timeline_workers.client.overview import WorkerOverview, worker_overview
from timeline_workers.plan.physical import Plan

from .cluster import AddressOption, MetricArgument, NamespaceOption, with_client
from .get_table import table
from .output import ExitCode, Output, OutputOption, complain, emit
from .text_table import terminal_width


class GetOutput(StrEnum):
    """The forms of `timeline get`."""

    table = "table"
    wide = "wide"
    json = "json"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (get, describe):
        app.command(command.__name__)(command)


def get(
    metrics: Annotated[
        list[str] | None, typer.Argument(metavar="METRIC", help="These metrics only.", show_default="all")
    ] = None,
    output: Annotated[
        GetOutput,
        typer.Option(
            "-o", "--output", help="table, or wide for all columns; json: one object a line, with everything."
        ),
    ] = GetOutput.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the applied metrics: whether all is well and if not why, how far they are, and what they hold.

    STATE is ok, or that of the worst that is wrong: down, unreachable (a server does not answer), failing,
    gap, refusing, stalled (events wait in the topic and no feeder sends any), paused, lagging (events wait),
    busy, fetching, subscribing; all causes are below the table. LAG is in seconds, "-" where the broker
    cannot be asked; WATERMARK the least of the result workers'. The exit code is 5 when something is wrong
    with a metric that is listed, and 4 when nothing answers.
    """

    async def work(client: TimelineClient) -> tuple[list[dict[str, Any]], str | None]:
        return await overview(client, metrics or [])

    rows, nobody = with_client(address, namespace, work)
    if output is GetOutput.json:
        emit(rows)
    elif rows:
        sys.stdout.write(table(rows, wide=output is GetOutput.wide))
    elif nobody is None:
        complain("no metric is applied; apply one with `timeline apply METRIC.yaml`")
    if nobody is not None:
        complain(f"error: {by_dev(nobody)}")
        raise typer.Exit(ExitCode.UNREACHABLE)
    if any(row["state"] not in WELL for row in rows):
        raise typer.Exit(ExitCode.DOUBTFUL)


async def overview(
    client: TimelineClient, names: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of `timeline get` (all metrics, or ``names``), and what to say when no worker process answers.

    Takes some seconds at most, whatever is wrong.
    """
    found = await client.overview(*names)
    for warning in found.warnings:
        complain(f"warning: {warning}")
    return [row.model_dump() for row in found.metrics], found.unanswered


def describe(
    name: MetricArgument,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show a metric's graph, and how every one of its workers is.

    `inbox` is how many messages a worker has received and not applied yet; `runs` how often its history was
    closed and a new one begun (continue-as-new), as its state is carried on.
    """
    described: MetricDescription = with_client(address, namespace, lambda client: client.describe(name))
    planned, found = described.plan, described.workers
    if output is Output.json:
        emit([{**planned.model_dump(mode="json"), "workers": [h.model_dump(mode="json") for h in found]}])
        return
    _print_graph(planned)
    if (kept := planned.metric.named_source) is not None:
        typer.echo(f"source {kept.name}, version {kept.version} (`timeline source describe {kept.name}`)")
    emit([row for health in found for row in _rows(worker_overview(health))], Output.table)
    for line in described.causes:
        complain(line)


def _rows(worker: WorkerOverview) -> Iterator[dict[str, Any]]:
    """A worker's row, and those of the other nodes that it computes."""
    yield worker.model_dump(exclude={"nodes"})
    for one in worker.nodes:
        shown = one.model_dump(exclude={"node"})
        yield {"worker": f"  {one.node}", "state": worker.state, **shown}


def _print_graph(planned: Plan) -> None:
    from rich.console import Console

    from timeline_workers.plan.drawing import to_tree

    Console(width=terminal_width(), highlight=False).print(to_tree(planned))
