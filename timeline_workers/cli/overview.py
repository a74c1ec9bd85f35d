"""``timeline get`` and ``describe``: how metrics and their workers are, and what ails those not well."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from temporalio.client import Client
from temporalio.service import RPCError

from timeline_workers.errors import ConnectionFailedError
from timeline_workers.events.times import from_microseconds
from timeline_workers.plan.physical import Plan, plan
from workflows.client import ask, worker_health as health
from workflows.client.client_errors import clear_errors
from workflows.client.conditions import (
    WELL,
    Applied,
    Condition,
    Look,
    MetricHealth,
    health_of,
    look_at,
    together,
)
from workflows.client.conditions.clocks import ahead_of
from workflows.client.conditions.feeding import lag_of, least
from workflows.client.conditions.refusals import latest_noted
from workflows.client.conditions.statuses import progress_of, state_of
from workflows.client.queues import Queue, queue_of
from workflows.client.worker_health import Health
from workflows.messages import CATALOG_ID
from workflows.search_attributes import METRIC

from .cluster import AddressOption, MetricArgument, NamespaceOption, with_client
from .get_table import table
from .output import ExitCode, Output, OutputOption, complain, emit

_CATALOG_SECONDS = 2.5


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

    async def work(client: Client) -> tuple[list[dict[str, Any]], str | None]:
        return await overview(client, metrics or [])

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
    async with clear_errors(client):
        queue = await queue_of(client)
        try:
            async with asyncio.timeout(_CATALOG_SECONDS):
                entries, unusable = await ask.catalog(client)
        except (TimeoutError, ConnectionFailedError):
            return await _without_catalog(client, names, queue)
    look = await look_at(client, queue, entries, unusable, names)
    found = health_of(look)
    for one in found:
        for notice in one.notices:
            complain(f"warning: {one.metric}: {notice}")
    rows = [_row(look, *pair) for pair in zip(look.applied, found, strict=False)]
    rows += [
        {"metric": one.metric, "state": one.state, "cause": one.cause, "causes": one.causes}
        for one in found[len(look.applied) :]
    ]
    return rows, None


async def _without_catalog(
    client: Client, names: Sequence[str], before: Queue
) -> tuple[list[dict[str, Any]], str]:
    """What can be said when the catalog's workflow does not answer: by the workers' search attributes.
    ``before``: the task queue as it was when the catalog was asked.
    """
    queue = await queue_of(client)
    state, cause = "down", queue.nobody(None)
    if failing := await health.cause_of(client, CATALOG_ID):
        state, cause = "failing", f"{CATALOG_ID}: {failing}"
    elif queue.is_polled_since(before, None):
        state = "busy"
        cause = f"{CATALOG_ID} did not answer in {_CATALOG_SECONDS:g} s, though worker processes are there"
    by_metric: dict[str, int] = defaultdict(int)
    try:
        async for found in client.list_workflows(
            "WorkflowType IN ('EventProcessor', 'TimelineProcessor') AND ExecutionStatus = 'Running'"
        ):
            for metric in found.typed_search_attributes.get(METRIC) or ():
                by_metric[metric] += 1
    except RPCError as error:
        complain(f"the workers cannot be listed either: {error.message}")
    rows = [
        {
            "metric": metric,
            "state": state,
            "cause": cause,
            "causes": [f"{state}: {cause}"],
            "workers": f"0/{count}",
        }
        for metric, count in sorted(by_metric.items())
        if not names or metric in names
    ]
    return rows, cause


def _row(look: Look, applied: Applied, found: MetricHealth) -> dict[str, Any]:
    metric, workers, results = applied.metric, applied.workers, applied.results
    answered = all(h.status is not None for h in results)
    return {
        "metric": metric.name,
        "state": found.state,
        "workers": f"{sum(h.status is not None for h in workers)}/{len(workers)}",
        "watermark": _iso(least([state_of(h).get("watermark") for h in results])),
        "lag": lag_of(look, applied),
        "keys": sum(state_of(h).get("keys", 0) for h in results) if answered else None,
        "archived": sum(_archived(h) for h in results),
        "change_points": sum(_points(h) for h in workers),
        "bytes": sum(state_of(h).get("bytes") or 0 for h in workers),
        "late": _counted(workers, "late"),
        "refused": _counted(workers, "refused"),
        "ahead": sum(ahead_of(one)[0] for one in latest_noted(applied.plan, workers).values()),
        "answerable_from": _iso(_greatest([state_of(h).get("answerable_from") for h in results])),
        "partitions": metric.source.partitions,
        "topic": metric.source.topic,
        "cause": found.cause,
        "causes": found.causes,
    }


def _counted(workers: Iterable[Health], field: str) -> int:
    """A count of the source: every worker hears of it, some later than others."""
    most: dict[int, int] = defaultdict(int)
    for p in (p for one in workers for p in progress_of(one)):
        most[p["partition"]] = max(most[p["partition"]], int(p.get(field) or 0))
    return sum(most.values())


def _points(health: Health) -> int:
    state = state_of(health)
    return int(state.get("change_points") or 0) + int(state.get("input_change_points") or 0)


def _archived(health: Health) -> int:
    return int((health.status or {}).get("archived_keys") or 0)


def _iso(micros: int | None) -> str | None:
    return None if micros is None else str(from_microseconds(micros, "iso"))


def _greatest(numbers: Iterable[int | None]) -> int | None:
    return max((n for n in numbers if n is not None), default=None)


def describe(
    name: MetricArgument,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show a metric's graph, and how every one of its workers is."""

    async def work(client: Client) -> tuple[Plan, list[Health]]:
        planned = plan(await ask.find_metric(client, name))
        workers = await ask.running_workers(client, planned)
        async with clear_errors(client):
            return planned, await health.examine(client, workers)

    planned, found = with_client(address, namespace, work)
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
    status, state = health.status or {}, state_of(health)
    return {
        "worker": health.worker_id,
        "state": health.state,
        **({"build": health.build.partition(".")[2]} if health.build else {}),
        "watermark": _iso(state.get("watermark")),
        "keys": state.get("keys"),
        "archived": _archived(health),
        "events": state.get("events"),
        "change_points": _points(health),
        "bytes": state.get("bytes"),
        "inbox": status.get("inbox"),
        "runs": status.get("runs"),
        "history": status.get("history_events"),
    }


def _inner_rows(health: Health) -> list[dict[str, Any]]:
    """The nodes that a worker computes besides the one it is named for, which is the last."""
    nodes = state_of(health).get("nodes") or {}
    return [
        {
            "worker": f"  {name}",
            "state": health.state,
            "watermark": _iso(node["watermark"]),
            "change_points": node["change_points"],
        }
        for name, node in list(nodes.items())[:-1]
    ]


def _print_graph(planned: Plan) -> None:
    from rich.console import Console

    from timeline_workers.plan.drawing import to_tree

    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(to_tree(planned))
