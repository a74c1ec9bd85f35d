"""``timeline apply|get|describe|delete|query|worker``: metrics that run as durable workers on Temporal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from temporalio.client import Client

from workflows import ask
from workflows.messages import DriverResult, RemoveResult
from workflows.start import all_workers
from workflows.worker import run_worker

from ..errors import QuestionError
from ..events.times import read_time
from ..graph.plan import Plan, is_global, plan
from ..metric import Metric, TimeUnit, load_metric
from ..process import run_children, stop_signals
from ..settings import Settings
from ..temporal_client import connect, temporal_target
from .output import Output, OutputOption, complain, emit

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Temporal's host:port.",
        show_default="TEMPORAL_ADDRESS, or what `timeline dev` runs",
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", help="Temporal's namespace.", show_default="TEMPORAL_NAMESPACE, or default"),
]
MetricArgument = Annotated[str, typer.Argument(metavar="METRIC", help="The name of an applied metric.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (apply, get, describe, delete, query, worker):
        app.command(command.__name__)(command)


def _with_client(address: str | None, namespace: str | None, work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await work(await connect(address, namespace))

    return asyncio.run(run())


def apply(
    metric: Annotated[Path, typer.Argument(metavar="METRIC.yaml", help="A metric file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the metric and list its workers; talk to no server.")
    ] = False,
    output: Annotated[
        Output | None,
        typer.Option(
            "-o",
            "--output",
            help="The driver's result as JSON, or its workers as a table.",
            show_default="one line of text",
        ),
    ] = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds until it must run.")] = 120.0,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Have a metric's graph of workers running. Applying it again starts only what is missing."""
    loaded = load_metric(metric)
    planned = plan(loaded)
    if dry_run:
        _list_workers(planned, output or Output.table)
        return

    async def work(client: Client) -> DriverResult:
        return await ask.apply(client, loaded, timeout=timedelta(seconds=wait), tell=complain)

    result: DriverResult = _with_client(address, namespace, work)
    if output is Output.json:
        emit([result.model_dump(mode="json")])
    elif output is Output.table:
        _list_workers(planned, output)
    else:
        typer.echo(result.text)
    said = {"new": "is new", "unchanged": "is unchanged", "replaced": "replaces an earlier definition"}[
        result.outcome
    ]
    complain(
        f"metric {result.metric} {said}: {result.started} workers started, {result.existing} ran already"
        + (f", {len(result.stopped)} that nobody needs any more ended" if result.stopped else "")
    )
    if result.beginning:
        complain(
            f"warning: {len(result.beginning)} event processors begin with the next event, beside others of "
            "this metric that know earlier ones: its answers about earlier times are incomplete"
        )
    if loaded.source.partitions == "per-key":
        complain("the feeder starts a tree of workers at the first event of a key")


def _list_workers(planned: Plan, output: Output) -> None:
    specs = all_workers(planned)
    if not specs:
        complain(
            f"metric {planned.metric.name} has a tree of workers per key, which the feeder starts; its nodes:"
        )
        emit(
            ({"node": n.name, "operator": n.operator, "expression": n.expression} for n in planned.nodes),
            output,
        )
        return
    result = planned.result.name
    emit(
        (
            {
                "worker_id": spec.worker_id,
                "role": "result"
                if spec.node.name == result
                else "event processor"
                if spec.node.is_leaf
                else "inner",
                "partition": spec.partition,
                "expression": spec.node.expression,
            }
            for spec in specs
        ),
        output,
    )


def get(
    output: OutputOption = Output.table, address: AddressOption = None, namespace: NamespaceOption = None
) -> None:
    """List the applied metrics: their workers up and in all, their keys, and whether all is well."""

    async def work(client: Client) -> list[dict[str, Any]]:
        entries = await ask.registered(client)
        return [await _overview(client, entry.metric) for entry in entries]

    rows: list[dict[str, Any]] = _with_client(address, namespace, work)
    if not rows and output is Output.table:
        complain("no metric is applied; apply one with `timeline apply METRIC.yaml`")
        return
    emit(rows, output)


async def _statuses(client: Client, planned: Plan) -> list[dict[str, Any]]:
    workers = await ask.running_workers(client, planned)
    return await ask.gather((lambda w=w: ask.worker_status(client, w)) for w in workers)  # type: ignore[misc]


async def _overview(client: Client, metric: Metric) -> dict[str, Any]:
    planned = plan(metric)
    found = await _statuses(client, planned)
    up = sum(f["up"] for f in found)
    well = all(_ailment(f) is None for f in found)
    keys = sum(
        f["status"]["state"]["keys"]
        for f in found
        if f["up"] and f["status"]["node"] == planned.result.name and f["status"]["state"]
    )
    state = "running" if well else "degraded"
    if metric.source.partitions == "per-key" and not found:
        state = "waiting for keys"
    return {
        "metric": metric.name,
        "state": state,
        "workers": f"{up}/{len(found)}",
        "keys": keys,
        "partitions": metric.source.partitions,
        "topic": metric.source.topic,
    }


def _ailment(found: dict[str, Any]) -> str | None:
    """What is wrong with a worker, in one line."""
    if not found["up"]:
        return str(found["error"])
    status = found["status"]
    for edge in status["edges"]:
        if edge["last_error"]:
            return f"edge to {edge['subscriber']} {edge['state']}: {edge['last_error']}"
    for source in status["inputs"]:
        if source["last_error"]:
            return f"not subscribed to {source['worker']}: {source['last_error']}"
    if status["refused"]:
        return f"{status['refused']} payloads refused; the last: {status['last_refusal']}"
    return None if status["ready"] else "subscribing"


def describe(
    name: MetricArgument,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show a metric's graph, and how every one of its workers is."""

    async def work(client: Client) -> tuple[Plan, list[dict[str, Any]]]:
        planned = plan(await ask.find_metric(client, name))
        return planned, await _statuses(client, planned)

    planned, found = _with_client(address, namespace, work)
    if output is Output.json:
        emit([{**planned.model_dump(mode="json"), "workers": found}])
        return
    _print_graph(planned)
    rows = []
    for one in found:
        status = one["status"] or {}
        state = status.get("state") or {}
        rows.append(
            {
                "worker": one["worker_id"],
                "state": _ailment(one) or "running",
                "keys": state.get("keys"),
                "change_points": state.get("change_points"),
                "watermark": state.get("watermark"),
                "inbox": status.get("inbox"),
                "runs": status.get("runs"),
            }
        )
    emit(rows, Output.table)


def _print_graph(planned: Plan) -> None:
    from rich.console import Console

    from ..graph.draw import to_tree

    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(to_tree(planned))


def delete(
    name: MetricArgument,
    output: Annotated[
        Output | None,
        typer.Option("-o", "--output", help="The result as JSON or a table.", show_default="text"),
    ] = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds until its workers must have ended.")] = 120.0,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Remove a metric, and end the workers that no other metric needs."""

    async def work(client: Client) -> RemoveResult:
        return await ask.delete(client, name, timeout=timedelta(seconds=wait))

    result: RemoveResult = _with_client(address, namespace, work)
    if output is Output.json:
        emit([result.model_dump(mode="json")])
    elif output is Output.table:
        ended = [{"worker_id": w, "now": "ended"} for w in result.stopped]
        emit([*ended, *({"worker_id": w, "now": "kept for other metrics"} for w in result.kept)], output)
    else:
        typer.echo(
            f"metric {name} is removed: {len(result.stopped)} workers ended, "
            f"{len(result.kept)} kept for other metrics"
        )


def query(
    metric: MetricArgument,
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="T", help="The value at T; may be repeated.")
    ] = None,
    spans: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="The spans over [A, B).")
    ] = None,
    change: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="The change over [A, B).")
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="D", help="With --change: per aligned interval, such as 1m.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", "-k", help="A key, or the group of an aggregate; may be repeated."),
    ] = None,
    every_key: Annotated[bool, typer.Option("--all", help="Every key the workers know.")] = False,
    node: Annotated[
        str | None,
        typer.Option(
            help="Ask this node: its name, the start of it, or its expression.", show_default="the result"
        ),
    ] = None,
    unit: Annotated[
        TimeUnit | None,
        typer.Option("--unit", help="Unit of times: s, ms, us, ns or iso.", show_default="the source's"),
    ] = None,
    output: OutputOption = Output.json,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Ask the workers of a metric: the value at an instant, the spans or the change over a range."""
    if sum(question is not None for question in (at or None, spans, change)) != 1:
        raise QuestionError("ask one thing: --at T, --spans A B, or --change A B")
    if every is not None and change is None:
        raise QuestionError("--every goes with --change A B")
    if key and every_key:
        raise QuestionError("--key names keys and --all means every key; give one of them")

    async def work(client: Client) -> list[dict[str, Any]]:
        planned = plan(await ask.find_metric(client, metric))
        asked = ask.find_node(planned, node)
        if not key and not every_key and not is_global(asked):
            raise QuestionError("name a key with --key, or ask for every key with --all")
        used = unit or planned.metric.source.time_unit
        times = [read_time(text, used) for text in at or spans or change or ()]
        questions: list[dict[str, Any]]
        if at:
            questions = [{"at": times if len(times) > 1 else times[0]}]
        else:
            questions = [{"start": times[0], "end": times[1]} | ({"every": every} if every else {})]
        questions = [
            {**q, "unit": used} | ({"aggregate": function} if function else {})
            for function in ask.functions_of(asked)
            for q in questions
        ]
        kind = "value_at" if at else "spans" if spans else "change"
        found: AsyncIterator[dict[str, Any]] = ask.ask(client, planned, asked, kind, questions, keys=key)
        async with aclosing(found) as answers:  # type: ignore[type-var]
            return [answer async for answer in answers]

    emit(_with_client(address, namespace, work), output)


def worker(
    processes: Annotated[int, typer.Option(min=1, help="Worker processes; one uses one core.")] = 1,
    max_cached: Annotated[
        int | None,
        typer.Option(
            "--max-cached",
            min=0,
            help="Timeline workers that a process keeps in memory.",
            show_default="1000",
        ),
    ] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Run timeline workers until SIGTERM or Ctrl-C: work in hand is finished, state is in Temporal."""
    _log_to_stderr()
    settings = Settings.from_env()
    if max_cached is not None:
        settings = settings.model_copy(update={"max_cached_workflows": max_cached})
    target = temporal_target(address, namespace)

    async def run() -> int:
        async with stop_signals() as stop:
            if processes == 1:
                await run_worker(await connect(address, namespace), stop=stop, settings=settings)
                return 0
            await connect(address, namespace)  # one error, not one from every process
            one = [sys.executable, "-m", "timeline_workers", "worker", "--address", target.address]
            one += ["--namespace", target.namespace, "--max-cached", str(settings.max_cached_workflows)]
            return await run_children([one] * processes, stop)

    code = asyncio.run(run())
    if code:
        complain(f"error: a worker process ended with exit code {code}; the others were stopped")
        raise typer.Exit(1)


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR")),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
