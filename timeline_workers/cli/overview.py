"""``timeline get`` and ``describe``: how metrics and their workers are, and what ails those not well."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from temporalio.client import Client
from temporalio.service import RPCError

from workflows import ask, health
from workflows.client_errors import clear_errors
from workflows.health import Health, Queue
from workflows.messages import CATALOG_ID
from workflows.search_attributes import METRIC

from ..errors import ConnectionFailedError
from ..events.times import from_microseconds
from ..graph.plan import Plan, plan
from ..metric import Metric
from .cluster import AddressOption, MetricArgument, NamespaceOption, with_client
from .output import ExitCode, Output, OutputOption, complain, emit

_CATALOG_SECONDS = 2.5
_BROKER_SECONDS = 5.0
_LAG_SECONDS = 5.0


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (get, describe):
        app.command(command.__name__)(command)


def get(
    metrics: Annotated[
        list[str] | None, typer.Argument(metavar="[METRIC]…", help="These metrics only.", show_default="all")
    ] = None,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the applied metrics: whether all is well and if not why, how far they are, and what they hold.

    STATE is ok, or that of the worker that is worst off: subscribing, fetching, busy, paused, failing, down;
    or lagging, when events wait in the topic. LAG is in seconds, WATERMARK the least of the result workers'.
    The exit code is 4 when nothing answers.
    """

    async def work(client: Client) -> tuple[list[dict[str, Any]], str | None]:
        return await overview(client, metrics or [])

    rows, nobody = with_client(address, namespace, work)
    if not rows and nobody is None and output is Output.table:
        complain("no metric is applied; apply one with `timeline apply METRIC.yaml`")
    elif rows:
        emit(rows, output)
    if nobody is not None:
        complain(f"error: {nobody}")
        raise typer.Exit(ExitCode.UNREACHABLE)


async def overview(client: Client, names: Sequence[str] = ()) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of `timeline get` (all metrics, or ``names``), and what to say when no worker process answers.

    Takes some seconds at most, whatever is wrong.
    """
    async with clear_errors(client):
        queue = await health.queue_of(client)
        try:
            async with asyncio.timeout(_CATALOG_SECONDS):
                entries = await ask.registered(client)
        except (TimeoutError, ConnectionFailedError):
            return await _without_catalog(client, names, queue)
    applied = {entry.metric.name: entry.metric for entry in entries}
    for name in names:
        if name not in applied:
            await ask.find_metric(client, name)  # says what it may have meant
    chosen = [applied[name] for name in names or applied]
    plans = [await asyncio.to_thread(plan, metric) for metric in chosen]
    workers = [await ask.running_workers(client, planned) for planned in plans]
    async with clear_errors(client):
        found = {h.worker_id: h for h in await health.examine(client, (w for some in workers for w in some))}
    waiting = await _waiting(chosen, [[found[w] for w in some] for some in workers])
    rows = [
        _row(planned, [found[w] for w in some], waiting) for planned, some in zip(plans, workers, strict=True)
    ]
    return rows, None


async def _without_catalog(
    client: Client, names: Sequence[str], before: Queue
) -> tuple[list[dict[str, Any]], str]:
    """What can be said when the catalog's workflow does not answer: by the workers' search attributes.
    ``before``: the task queue as it was when the catalog was asked.
    """
    queue = await health.queue_of(client)
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
        {"metric": metric, "state": state, "cause": cause, "workers": f"0/{count}"}
        for metric, count in sorted(by_metric.items())
        if not names or metric in names
    ]
    return rows, cause


async def _waiting(metrics: Sequence[Metric], found: Sequence[list[Health]]) -> dict[str, int | None]:
    """Of each topic when the oldest event that was not fed yet was published; without those not known."""
    topics: dict[str, dict[int, tuple[int, int]]] = {}
    for metric, workers in zip(metrics, found, strict=True):
        places = topics.setdefault(metric.source.topic, {})
        for p in (p for one in workers for p in _progress(one)):
            at = (int(p["major"]), int(p["minor"]))
            places[p["partition"]] = max(at, places.get(p["partition"], at))
    if not topics:
        return {}
    from ..pulsar_backlog import first_waiting

    try:
        async with asyncio.timeout(_BROKER_SECONDS):
            return await asyncio.to_thread(first_waiting, topics)
    except TimeoutError:
        return {}


def _state(health: Health) -> dict[str, Any]:
    return (health.status or {}).get("state") or {}


def _progress(health: Health) -> list[dict[str, Any]]:
    progress: list[dict[str, Any]] = _state(health).get("progress") or []
    return progress


def _row(planned: Plan, workers: list[Health], waiting: dict[str, int | None]) -> dict[str, Any]:
    metric = planned.metric
    results = [h for h in workers if h.worker_id.rpartition(".")[0] == planned.result.name]
    ailing = health.worst(workers)
    state: str = ailing.state if ailing else "ok"
    cause = f"{ailing.worker_id}: {ailing.cause}" if ailing and ailing.cause else None
    lag = _lag(results, workers, metric.source.topic, waiting)
    if metric.source.partitions == "per-key" and not workers:
        state = "waiting for keys"
    behind = waiting.get(metric.source.topic)
    if behind is not None and lag is not None and lag > _LAG_SECONDS and state in ("ok", "waiting for keys"):
        state = "lagging"
        cause = (
            f"an event of topic {metric.source.topic} has waited for {lag:.0f} s; is the feeder running? "
            "(`python -m feeder`)"
        )
    return {
        "metric": metric.name,
        "state": state,
        "workers": f"{sum(h.status is not None for h in workers)}/{len(workers)}",
        "watermark": _iso(_least([_state(h).get("watermark") for h in results])),
        "lag": lag,
        "keys": sum(_state(h).get("keys", 0) for h in results),
        "archived": sum(_archived(h) for h in results),
        "change_points": sum(_points(h) for h in workers),
        "bytes": sum(_state(h).get("bytes") or 0 for h in workers),
        "late": _counted(workers, "late"),
        "refused": _counted(workers, "refused"),
        "answerable_from": _iso(_greatest([_state(h).get("answerable_from") for h in results])),
        "partitions": metric.source.partitions,
        "topic": metric.source.topic,
        "cause": cause,
    }


def _lag(
    results: list[Health], workers: list[Health], topic: str, waiting: dict[str, int | None]
) -> float | None:
    """Seconds by which the result is behind the topic: how long the oldest event that it lacks has been
    there. None when that is not known.
    """
    oldest = waiting.get(topic)
    if oldest is not None:
        return round(max(0.0, time.time() - oldest / 1e6), 1)
    newest = _greatest([p.get("published") for h in workers for p in _progress(h)])
    reached = _least([_state(h).get("published") for h in results])
    if newest is None or reached is None:
        return 0.0 if topic in waiting else None
    behind = round(max(0.0, (newest - reached) / 1e6), 1)
    return behind if topic in waiting or behind else round(max(0.0, time.time() - reached / 1e6), 1)


def _counted(workers: Iterable[Health], field: str) -> int:
    """A count of the source: every worker hears of it, some later than others."""
    most: dict[int, int] = defaultdict(int)
    for p in (p for one in workers for p in _progress(one)):
        most[p["partition"]] = max(most[p["partition"]], int(p.get(field) or 0))
    return sum(most.values())


def _points(health: Health) -> int:
    state = _state(health)
    return int(state.get("change_points") or 0) + int(state.get("input_change_points") or 0)


def _archived(health: Health) -> int:
    return int((health.status or {}).get("archived_keys") or 0)


def _iso(micros: int | None) -> str | None:
    return None if micros is None else str(from_microseconds(micros, "iso"))


def _least(numbers: Sequence[int | None]) -> int | None:
    """The least; None while one is not known."""
    known = [n for n in numbers if n is not None]
    return min(known) if known and len(known) == len(numbers) else None


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
    emit([_worker_row(health) for health in found], Output.table)
    for ailing in found:
        if ailing.cause:
            complain(f"{ailing.worker_id} {ailing.state}: {ailing.cause}")


def _worker_row(health: Health) -> dict[str, Any]:
    status, state = health.status or {}, _state(health)
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


def _print_graph(planned: Plan) -> None:
    from rich.console import Console

    from ..graph.draw import to_tree

    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(to_tree(planned))
