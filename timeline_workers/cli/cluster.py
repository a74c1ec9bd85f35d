"""``timeline apply|delete|query``: metrics that run as durable workers on Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from timeline_workers.answers.answer_models import Change, Spans, ValueAt
from timeline_workers.client import DriverResult, Notice, RemoveResult, SourceResult, TimelineClient, Written
from timeline_workers.client.models import QuestionKind, find_node, question
from timeline_workers.client.output_rows import TargetResult
from timeline_workers.errors import QuestionError, TimelineError, UnknownNameError
from timeline_workers.events.times import read_time
from timeline_workers.metric.load import TARGET, is_source_file, kind_of_file, load_source
from timeline_workers.metric.model import NamedSource, TimeUnit
from timeline_workers.plan.physical import Plan, all_workers, is_global, plan
from timeline_workers.process.counted import counted
from timeline_workers.targets.target import Target
from timeline_workers.targets.target_files import load_target

from .definitions import load
from .in_file import naming
from .output import ExitCode, Output, OutputOption, complain, emit

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
    for command in (apply, delete, query):
        app.command(command.__name__)(command)


def with_client(
    address: str | None, namespace: str | None, work: Callable[[TimelineClient], Awaitable[Any]]
) -> Any:
    """Run ``work`` with a client that is connected."""

    async def run() -> Any:
        return await work(await TimelineClient.connect(address, namespace))

    return asyncio.run(run())


def apply(
    metric: Annotated[
        Path, typer.Argument(metavar="FILE.yaml", help="A metric, a rule, a source or a target of alerts.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the metric and list its workers; talk to no server.")
    ] = False,
    output: Annotated[
        Output | None,
        typer.Option(
            "-o",
            "--output",
            help="The driver's result as JSON, or its workers as a table.",
            show_default="text",
        ),
    ] = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds until it must run.")] = 120.0,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Have a metric's graph of workers running. Applying it again starts only what is missing.

    A rule of an alert (`kind: alert`) runs beside the graph of its truth, and tells its targets.
    A source file (`kind: source`) is stored, for metrics to name. A metric keeps the version of its source
    that it was applied with. A target (`kind: target`) is kept, for rules of alerts to name.
    """
    if kind_of_file(metric) == TARGET:
        with naming(metric):
            _keep(load_target(metric), dry_run, output, address, namespace)
        return
    if is_source_file(metric):
        with naming(metric):
            _store(load_source(metric), dry_run, output, address, namespace)
        return
    loaded = load(metric, None, address, namespace)
    with naming(metric):
        planned = plan(loaded)
    if dry_run:
        _list_workers(planned, output or Output.table)
        return

    async def work(client: TimelineClient) -> DriverResult:
        return await client.apply(loaded, timeout=timedelta(seconds=wait), tell=complain)

    with naming(metric):
        result: DriverResult = with_client(address, namespace, work)
    if output is Output.json:
        emit([result.model_dump(mode="json")])
    elif output is Output.table:
        _list_workers(planned, output)
    (typer.echo if output is None else complain)(_outcome(result, "rule" if loaded.alert else "metric"))
    if result.beginning:
        complain(
            f"{counted(len(result.beginning), 'event processor is', 'event processors are')} new, beside "
            "others of this metric that have earlier events: the feeder backfills them from the topic, as "
            "far back as the broker retains it, and answers say so until it has finished (`timeline get`)"
        )
    if result.departed:
        complain(
            f"warning: {counted(len(result.departed), 'worker')} that this metric shares moved idle keys to "
            "archives; this metric does not have such a key, nor counts it in an aggregate, until its next "
            "event"
        )
    if loaded.source.partitions == "per-key":
        complain("the feeder starts a tree of workers at the first event of a key")


def _outcome(result: DriverResult, what: str) -> str:
    """What became of a metric or rule that was applied, and who can be asked about it."""
    said = {"new": "is new", "unchanged": "is unchanged", "replaced": "replaces an earlier definition"}[
        result.outcome
    ]
    ended = f", {len(result.stopped)} no longer needed stopped" if result.stopped else ""
    counts = f"{counted(result.started, 'worker')} started, {result.existing} ran already{ended}"
    lines = [f"{what} {result.metric} {said}: {counts}"]
    match [worker.worker_id for worker in result.result_workers]:
        case []:
            pass  # one tree of workers per key
        case [one]:
            lines.append(f"its result is in worker {one}")
        case [first, *_, last] as all_of_them:
            word = "and" if len(all_of_them) == 2 else "to"
            lines.append(f"its result is in {len(all_of_them)} workers, {first} {word} {last}")
    return "\n".join(lines)


def _store(
    source: NamedSource, dry_run: bool, output: Output | None, address: str | None, namespace: str | None
) -> None:
    if dry_run:
        complain(f"source {source.name} is valid")
        return

    result: SourceResult = with_client(address, namespace, lambda client: client.apply_source(source))
    if output is not None:
        emit([result.model_dump(mode="json")], output)
    said = {"new": "is new", "unchanged": "is unchanged", "replaced": "replaces an earlier definition"}[
        result.outcome
    ]
    complain(f"source {result.name} {said}: version {result.version}")
    if result.keeping:
        complain(
            f"{', '.join(result.keeping)} keep the version that they were applied with; apply them again to "
            f"use version {result.version}"
        )


def _keep(
    target: Target, dry_run: bool, output: Output | None, address: str | None, namespace: str | None
) -> None:
    if dry_run:
        complain(f"target {target.name} is valid")
        return
    result: TargetResult = with_client(address, namespace, lambda client: client.apply_target(target))
    if output is not None:
        emit([result.model_dump(mode="json")], output)
    said = {"new": "is new", "unchanged": "is unchanged", "replaced": "replaces an earlier definition"}
    complain(f"target {result.name} {said[result.outcome]}")


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
    """Remove a metric, and end the workers that no other metric needs; or a target of alerts.

    Messages that wait for a target become dead letters.
    """

    async def work(client: TimelineClient) -> tuple[RemoveResult | None, list[str]]:
        metrics = {metric.name: metric for metric in await client.metrics()}
        if name not in metrics and name in {target.name for target in await client.targets()}:
            await client.delete_target(name)
            return None, []
        written = metrics[name].output if name in metrics else None
        topic = None if written is None else written.topic
        readers = [m.name for m in metrics.values() if m.source.changelog and m.source.topic == topic]
        return await client.delete(name, timeout=timedelta(seconds=wait)), readers

    removed: tuple[RemoveResult | None, list[str]] = with_client(address, namespace, work)
    result, readers = removed
    if result is None:
        typer.echo(f"target {name} is removed")
        return
    if readers:
        complain(
            f"warning: nothing new comes any more to what reads its output: {', '.join(sorted(readers))}"
        )
    if output is Output.json:
        emit([result.model_dump(mode="json")])
    elif output is Output.table:
        ended = [{"worker_id": w, "now": "ended"} for w in result.stopped]
        emit([*ended, *({"worker_id": w, "now": "kept for other metrics"} for w in result.kept)], output)
    else:
        typer.echo(
            f"metric {name} is removed: {counted(len(result.stopped), 'worker')} ended, "
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

    async def work(client: TimelineClient) -> _Heard:
        planned = plan(await client.metric(metric))
        if not key and not every_key and not is_global(find_node(planned, node)):
            raise QuestionError("name a key with --key, or ask for every key with --all")
        used = unit or planned.metric.source.time_unit
        times = [read_time(text, used) for text in at or spans or change or ()]
        if at:
            asked = question(
                "value_at", at=tuple(times) if len(times) > 1 else times[0], node=node, unit=used
            )
        else:
            kind: QuestionKind = "spans" if spans else "change"
            asked = question(kind, start=times[0], end=times[1], every=every, node=node, unit=used)
        keys = None if not key else [Written(text) for text in key]
        given: list[ValueAt | Spans | Change] = []
        refusal: UnknownNameError | None = None
        try:
            async with aclosing(client.ask_planned(planned, asked, keys)) as answers:
                async for answer in answers:
                    given.append(answer)
        except UnknownNameError as error:
            refusal = error
        found = (one.health for one in given if one.health is not None)
        doubts = {(doubt.state, doubt.cause) for doubt in found}
        if refusal is not None and refusal.doubt is not None:
            doubts.add(refusal.doubt)
        if not doubts and (refusal is not None or not given):
            # Before that a key is unknown is taken for the whole truth, the broker is asked, too.
            doubts = await _what_ails(client, metric)
        return _Heard(given, refusal, client.notices(), sorted(doubts))

    heard: _Heard = with_client(address, namespace, work)
    if heard.refusal is not None and not heard.doubts:
        raise heard.refusal
    emit(heard.answers, output)
    for notice in heard.notices:
        complain(f"warning: {notice}")
    if heard.refusal is not None:
        complain(f"error: {heard.refusal}")
    for state, cause in heard.doubts:
        complain(f"warning: answers may be wrong or old: {state}: {cause}")
    if heard.doubts:
        raise typer.Exit(ExitCode.DOUBTFUL)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came of a question. ``refusal``: that a key is unknown; ``doubts``: states and causes."""

    answers: list[ValueAt | Spans | Change]
    refusal: UnknownNameError | None
    notices: list[Notice]
    doubts: list[tuple[str, str]]


async def _what_ails(client: TimelineClient, metric: str) -> set[tuple[str, str]]:
    """The worst that is wrong with a metric, the broker and what waits in it included (`timeline get`)."""
    try:
        (health,) = await client.health(metric)
    except TimelineError:
        return set()  # the question had an answer, so whatever this is has come since
    return set() if health.is_well else {(health.state, health.cause or "no cause is known")}
