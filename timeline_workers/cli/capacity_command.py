"""``timeline capacity``: what a metric needs at a load, from measured costs. Talks to no server."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from timeline_workers.capacity.limits import BATCH
from timeline_workers.errors import MetricError
from timeline_workers.language.durations import parse_duration

from .definitions import SourceOption, load as load_definition
from .in_file import naming
from .output import Output, emit
from .text_table import drawn

if TYPE_CHECKING:
    from timeline_workers.capacity.costs import Costs


def capacity(
    metric: Annotated[Path, typer.Argument(metavar="METRIC.yaml", help="A metric file.")],
    sessions: Annotated[int, typer.Option(min=1, help="Keys that are busy at a time.")],
    events_per_second: Annotated[float, typer.Option(min=0.001, help="Events a second, of all of them.")],
    session_length: Annotated[str, typer.Option(help="How long a key is busy.")] = "30m",
    queries_per_second: Annotated[float, typer.Option(min=0, help="Questions about one key each.")] = 100.0,
    topics: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Topics that the events are divided into by key, each with a metric of its own.",
            show_default="as few as will do",
        ),
    ] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of each metric.", show_default="as few as will do")
    ] = None,
    feeders: Annotated[
        int | None, typer.Option(min=1, help="Of each topic.", show_default="as few as will do")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=50_000, help="The feeders' --batch.")] = BATCH,
    gather_ms: Annotated[int, typer.Option(min=1, max=10_000, help="The feeders' --gather-ms.")] = 2_000,
    fuse: Annotated[
        bool | None,
        typer.Option(
            "--fuse/--no-fuse", help="Another `fuse` than the metric's.", show_default="the metric's"
        ),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            help="Measured costs (python -m benchmarks constants --json).",
            show_default="those of the release",
        ),
    ] = None,
    source: SourceOption = None,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="json: one object; table: for people.")
    ] = Output.table,
) -> None:
    """Say what a metric needs at a load: feeders, workers, Temporal, database, cores and money.

    Costs were measured on a small machine; docs/scale.md says how, and what the figures leave out.
    """
    from timeline_workers.capacity.capacity_model import choose, need
    from timeline_workers.capacity.costs import measured
    from timeline_workers.capacity.terms import Load
    from timeline_workers.plan.physical import plan

    wanted = load_definition(metric, source)
    if wanted.source.partitions == "per-key":
        raise MetricError(
            f"{metric}: metric {wanted.name!r} has 'partitions: per-key', a tree of workers for each key, "
            "for which there is no model; write a number, such as 'partitions: 4'"
        )
    if fuse is not None:
        wanted = wanted.model_copy(update={"fuse": fuse})
    known = measured() if costs is None else _costs(costs)
    with naming(metric):
        planned = plan(wanted)
    seconds = parse_duration(session_length) / 1e6
    load = Load(sessions, events_per_second, session_seconds=seconds, queries=queries_per_second)
    layout = choose(
        planned,
        load,
        partitions=partitions,
        feeders=feeders,
        topics=topics,
        batch=batch,
        wait=gather_ms / 1e3,
        costs=known,
    )
    found = need(planned, load, layout, known)
    if output is Output.json:
        emit([{**asdict(found), "fits": found.fits}])
    else:
        _table(found)


def _costs(file: Path) -> Costs:
    from timeline_workers.capacity.costs import read

    try:
        return read(file.read_bytes())
    except msgspec.MsgspecError as error:
        raise MetricError(
            f"{file} is not what `python -m benchmarks constants` writes: {error}; measure again"
        ) from None


def _table(found: Any) -> None:
    from timeline_workers.capacity.show import limit_rows, rows

    sys.stdout.write(drawn([{"what": what, "need": need} for what, need in rows(found)], headers=False))
    names = ("limit", "need", "most", "used", "what helps")
    limits = [dict(zip(names, line, strict=True)) for line in limit_rows(found)]
    sys.stdout.write("\n" + drawn(limits, right=frozenset({"need", "most", "used"})))
    if not found.fits:
        sys.stdout.write("It does not fit: see what is over 100 %.\n")
