"""``timeline get`` and ``describe``: how metrics and their workers are, and what ails those not well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from temporalio.client import Client

from timeline_workers.client import MetricDescription, TimelineClient
from timeline_workers.client.overview import archived, iso, look_over, points
from timeline_workers.plan.physical import Plan
from workflows.client.conditions import WELL, Condition, together
from workflows.client.conditions.statuses import state_of
from workflows.client.worker_health import Health
from workflows.worker_status import WorkerStatus

from .cluster import AddressOption, MetricArgument, NamespaceOption, with_client
from .get_table import table
from .output import ExitCode, Output, OutputOption, complain, emit


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
        list[str] | None, typer.Argument(metavar="[METRIC]…", help="These metrics only.", show_default="all")
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
        return await overview(client.temporal, metrics or [])

    rows, nobody = with_client(address, namespace, work)
    if output is GetOutput.json:
        emit(rows)
    elif rows:
        sys.stdout.write(table(rows, wide=output is GetOutput.wide))
    elif nobody is None:
        complain("no metric is applied; apply one with `timeline apply METRIC.yaml`")
    if nobody is not None:
        complain(f"error: {nobody}")
        raise typer.Exit(ExitCode.UNREACHABLE)
    if any(row["state"] not in WELL for row in rows):
        raise typer.Exit(ExitCode.DOUBTFUL)


async def overview(client: Client, names: Sequence[str] = ()) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of `timeline get` (all metrics, or ``names``), and what to say when no worker process answers.

    Takes some seconds at most, whatever is wrong.
    """
    found = await look_over(client, names)
    for warning in found.warnings:
        complain(f"warning: {warning}")
    return [row.model_dump() for row in found.metrics], found.unanswered


def describe(
    name: MetricArgument,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show a metric's graph, and how every one of its workers is."""

    described: MetricDescription = with_client(address, namespace, lambda client: client.describe(name))
    planned, found = described.plan, described.workers
    if output is Output.json:
        emit([{**planned.model_dump(mode="json"), "workers": [h.model_dump(mode="json") for h in found]}])
        return
    _print_graph(planned)
    if (kept := planned.metric.named_source) is not None:
        typer.echo(f"source {kept.name}, version {kept.version} (`timeline source describe {kept.name}`)")
    emit([row for health in found for row in (_worker_row(health), *_inner_rows(health))], Output.table)
    for line in together(Condition(one.state, one.cause, one.worker_id) for one in found if one.cause):
        complain(line)


def _worker_row(health: Health) -> dict[str, Any]:
    status, state = health.status or WorkerStatus(), state_of(health)
    return {
        "worker": health.worker_id,
        "state": health.state,
        **({"build": health.build.partition(".")[2]} if health.build else {}),
        "watermark": iso(state.watermark),
        "keys": state.keys,
        "archived": archived(health),
        "events": state.events,
        "change_points": points(health),
        "bytes": state.bytes,
        "inbox": status.inbox,
        "runs": status.runs,
        "history": status.history_events,
    }


def _inner_rows(health: Health) -> list[dict[str, Any]]:
    """The nodes that a worker computes besides the one it is named for, which is the last."""
    nodes = state_of(health).nodes
    return [
        {
            "worker": f"  {name}",
            "state": health.state,
            "watermark": iso(node.watermark),
            "change_points": node.change_points,
        }
        for name, node in list(nodes.items())[:-1]
    ]


def _print_graph(planned: Plan) -> None:
    from rich.console import Console

    from timeline_workers.plan.drawing import to_tree

    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(to_tree(planned))
