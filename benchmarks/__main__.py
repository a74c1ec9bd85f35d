"""``python -m benchmarks``: run a benchmark, print its tables, keep the numbers as JSON and a plot."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from timeline_workers.errors import TimelineError
from timeline_workers.process.exit import leave

from . import (
    capacity,
    column_library,
    constants,
    cost,
    day,
    durable,
    event_tables,
    figure9,
    history,
    kernel,
    latency,
    page,
    pairs as pairing,
    peers,
    player,
    reconcilers,
    recovery,
    steady,
    week,
    week_plot,
)

app = typer.Typer(
    help="Benchmarks of the engine against peers, measured in the same run; see benchmarks/README.md.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Runs = Annotated[int, typer.Option(min=1, help="Timed runs of each contender, in turns.")]
RealBroker = Annotated[
    bool, typer.Option("--real-broker", help="On Apache Pulsar itself, standalone (needs Java).")
]
Seed = Annotated[int, typer.Option(help="Seed of the generated data.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Also draw this SVG (a PNG beside it) or PNG.")]
Only = Annotated[list[str] | None, typer.Option(help="Only this contender; repeat for more.")]


def tell(line: str) -> None:
    """Say on standard error how far it is."""
    typer.echo(line, err=True)


def chosen(given: list[str] | None, known: tuple[str, ...], what: str) -> list[str]:
    """``given``, all of them known, or all that are known. Raises typer.BadParameter."""
    if unknown := set(given or ()) - set(known):
        raise typer.BadParameter(
            f"no {what} is named {sorted(unknown)[0]!r}; choose among {', '.join(known)}"
        )
    return list(given or known)


@app.command("peers")
def install_peers(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all by default.")] = None,
) -> None:
    """Install the peers, each into an environment of its own under the user's cache directory."""
    for name in chosen(names, tuple(peers.PEERS), "peer"):
        peer = peers.PEERS[name]
        try:
            peer.ensure(tell)
            typer.echo(f"{name} {peer.version()} in {peer.home}")
        except peers.PeerUnavailableError as error:
            typer.echo(str(error))


@app.command("kernel")
def run_kernel(
    metric: Annotated[list[str] | None, typer.Option(help="cirr, playtime, outlier; all by default.")] = None,
    events: Annotated[list[int] | None, typer.Option(min=1, help="Number of events; 1,000,000.")] = None,
    keys: Annotated[list[int] | None, typer.Option(min=1, help="Number of keys; 10,000.")] = None,
    form: Annotated[list[str] | None, typer.Option(help="columns, jsonl; both by default.")] = None,
    runs: Runs = 5,
    seed: Seed = 7,
    only: Only = None,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """In process, on one core: our engine, DuckDB, Polars, Bytewax, Reelay, RTAMT, and a plain loop.

    Repeat an option to measure every combination.
    """
    kernel.run(
        metrics=chosen(metric, kernel.METRICS, "metric"),
        events=events or [1_000_000],
        keys=keys or [10_000],
        forms=chosen(form, kernel.FORMS, "form"),
        only=chosen(only, kernel.NAMES, "contender") if only else [],
        runs=runs,
        seed=seed,
        tell=tell,
        json_file=json,
        plot_file=plot,
    )


@app.command("figure9")
def run_figure9(
    events: Annotated[int, typer.Option(min=1, help="Number of state changes.")] = 2_000_000,
    sessions: Annotated[int, typer.Option(min=1, help="Number of sessions.")] = 20_000,
    runs: Runs = 5,
    seed: Seed = 7,
    only: Only = None,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Rebuffering and play time, on one core: our engine, PostgreSQL, PySpark and DuckDB."""
    figure9.run(
        events=events,
        sessions=sessions,
        only=chosen(only, figure9.NAMES, "contender") if only else [],
        runs=runs,
        seed=seed,
        tell=tell,
        json_file=json,
        plot_file=plot,
    )


@app.command("history")
def run_history(
    rows: Annotated[int, typer.Option(min=1_000, help="Events, and rows, appended at first.")] = 200_000,
    keys: Annotated[int, typer.Option(min=1, help="Number of sessions.")] = 10_000,
    seconds: Annotated[float, typer.Option(min=0, help="How long windows are read while appending.")] = 20,
    address: Annotated[
        str | None, typer.Option(help="An empty store; SQLite in a folder by default.")
    ] = None,
    seed: Seed = 7,
) -> None:
    """Appending to a history store, and windows read from it meanwhile."""
    typer.echo(history.run(rows=rows, keys=keys, seconds=seconds, seed=seed, address=address).text())


@app.command("tables")
def run_tables(
    rows: Annotated[int, typer.Option(min=1_000, help="Events stored at first.")] = 1_000_000,
    keys: Annotated[int, typer.Option(min=1, help="Number of sessions.")] = 10_000,
    seconds: Annotated[float, typer.Option(min=0, help="How long each table is asked while appending.")] = 20,
    only: Only = None,
    seed: Seed = 7,
    json: Json = None,
) -> None:
    """Event tables of others: windows, counts and neighbours while rows are appended; lanes a second."""
    kinds = chosen(only, event_tables.KINDS, "table")
    event_tables.run(
        kinds=kinds, rows=rows, keys=keys, seconds=seconds, seed=seed, tell=typer.echo, json_file=json
    )


@app.command("player")
def run_player(
    events: Annotated[int, typer.Option(min=1_000, help="Events of the day.")] = 1_000_000,
    keys: Annotated[int, typer.Option(min=1, help="Number of sessions.")] = 10_000,
    day_seconds: Annotated[float, typer.Option(min=0, help="In how long the day is played; 0: not.")] = 60,
    short_seconds: Annotated[
        float, typer.Option(min=0, help="How long 1,000 events a second are played; 0: not.")
    ] = 20,
    only: Only = None,
    seed: Seed = 7,
    json: Json = None,
) -> None:
    """The player on a real uvicorn: a day in a minute, and how late frames come at 100 a second."""
    player.run(
        stores=chosen(only, day.STORES, "store"),
        events=events,
        keys=keys,
        day_seconds=day_seconds,
        short_seconds=short_seconds,
        seed=seed,
        tell=typer.echo,
        json_file=json,
    )


@app.command("page")
def run_page(
    spans: Annotated[int, typer.Option(min=100, help="Spans of the key, about.")] = 10_000,
    frames: Annotated[int, typer.Option(min=20, help="Frames that are drawn.")] = 120,
    json: Json = None,
) -> None:
    """The page in headless Chromium: how soon a key's lanes are there, and how long a frame takes."""
    page.run(spans=spans, frames=frames, tell=typer.echo, json_file=json)


@app.command("durable")
def run_durable(
    events: Annotated[int, typer.Option(min=1, help="Number of events.")] = 1_000_000,
    sessions: Annotated[int, typer.Option(min=1, help="Number of sessions.")] = 10_000,
    real_broker: RealBroker = False,
    runs: Runs = 5,
    seed: Seed = 7,
    only: Only = None,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Topic to answer: our workers, Flink SQL, PyFlink, Temporal alone, and one signal per event."""
    durable.run(
        events=events,
        sessions=sessions,
        only=chosen(only, durable.NAMES, "contender") if only else [],
        real_broker=real_broker,
        runs=runs,
        seed=seed,
        tell=tell,
        json_file=json,
        plot_file=plot,
    )


@app.command("pairs")
def run_pairs(
    other: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Another checkout; its .venv is used.")
    ],
    pairs: Annotated[int, typer.Option(min=1, help="How many pairs.")] = 10,
    events: Annotated[
        int | None, typer.Option(min=1, help="Number of events; 300,000, kernel 1,000,000.")
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--kernel", help="Evaluation in process, by processor time.")
    ] = False,
    real_broker: RealBroker = False,
    together: Annotated[
        bool,
        typer.Option("--together", help="Both at once, a core each: for machines whose speed changes."),
    ] = False,
) -> None:
    """This checkout against another one, the durable benchmark in turns: the ratio pair by pair."""
    speed: Callable[[Path], pairing.Speed] = partial(
        pairing.durable, events=events or 300_000, options=["--real-broker"] if real_broker else []
    )
    if in_process:
        speed = partial(pairing.kernel, events=events or 1_000_000)
    for name, found in pairing.run(other, pairs, speed, tell, together=together).items():
        typer.echo(f"{name}: {found.text()}")


@app.command("latency")
def run_latency(
    rate: Annotated[
        list[float] | None, typer.Option(min=0.01, help="Events a second; 1, 100 and 10,000.")
    ] = None,
    probes: Annotated[int, typer.Option(min=1, help="Probes at each rate in a round.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over all rates.")] = 5,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """From publishing an event to an answer that includes it, against a bare chain of signals."""
    rates = rate or [1.0, 100.0, 10_000.0]
    latency.run(rates=rates, probes=probes, rounds=rounds, tell=tell, json_file=json, plot_file=plot)


@app.command("cost")
def run_cost(
    sessions: Annotated[
        list[int] | None, typer.Option(min=1, help="Numbers of sessions; 1,000, 10,000 and 100,000.")
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="Events of the busy phase.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often, in turns; medians are shown.")] = 3,
    real_broker: RealBroker = False,
    seed: Seed = 7,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """What events and sessions cost: Temporal's actions and history, processor time, state."""
    numbers = sessions or [1_000, 10_000, 100_000]
    cost.run(
        sessions=numbers,
        events=events,
        rounds=rounds,
        real_broker=real_broker,
        seed=seed,
        tell=tell,
        json_file=json,
        plot_file=plot,
    )


@app.command("recovery")
def run_recovery(
    events: Annotated[int, typer.Option(min=2, help="Number of events.")] = 1_000_000,
    sessions: Annotated[int, typer.Option(min=1, help="Number of sessions.")] = 10_000,
    real_broker: RealBroker = False,
    runs: Runs = 5,
    seed: Seed = 7,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Catching up after every worker process was killed, and backfilling a new metric."""
    recovery.run(
        events=events,
        sessions=sessions,
        real_broker=real_broker,
        runs=runs,
        seed=seed,
        tell=tell,
        json_file=json,
        plot_file=plot,
    )


@app.command("constants")
def run_constants(
    events: Annotated[int, typer.Option(min=1_000, help="Events of each run.")] = 100_000,
    sessions: Annotated[int, typer.Option(min=1, help="Number of sessions.")] = 6_000,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Sizes of batches; 1,000, 4,000 and 40,000.")
    ] = None,
    seed: Seed = 7,
    json: Json = None,
    runs: Annotated[Path | None, typer.Option(help="Also write what each run used to this file.")] = None,
) -> None:
    """Measure what `timeline capacity` counts with, on Temporal's services over PostgreSQL."""
    constants.run(
        events=events,
        sessions=sessions,
        batches=batch or [1_000, 4_000, 40_000],
        seed=seed,
        tell=tell,
        json_file=json,
        runs_file=runs,
    )


@app.command("capacity")
def run_capacity(
    metric: Annotated[Path, typer.Argument(metavar="METRIC.yaml", help="A metric file.")],
    sessions: Annotated[int, typer.Option(min=1, help="Keys that are busy at a time.")] = 10_000_000,
    events_per_second: Annotated[float, typer.Option(min=1, help="Events a second.")] = 580_000.0,
    seconds: Annotated[float, typer.Option(min=1, help="Simulated time.")] = 1_800.0,
    topics: Annotated[
        int | None, typer.Option(min=1, help="As for `timeline capacity`.", show_default="as few as will do")
    ] = None,
    seed: Seed = 7,
    json: Json = None,
) -> None:
    """Simulate what `timeline capacity` counts: real keys through the planner, workers in simulated time."""
    if not capacity.run(
        metric,
        sessions=sessions,
        events=events_per_second,
        seconds=seconds,
        topics=topics,
        seed=seed,
        json_file=json,
    ):
        sys.exit(1)


@app.command("reconcilers")
def run_reconcilers(
    keys: Annotated[int, typer.Option(min=1, help="Keys whose states change in each round.")] = 5_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 4,
    json: Json = None,
) -> None:
    """Calls of reconcilers that find nothing to do, and what each costs a workflow's history."""
    reconcilers.run(keys=keys, rounds=rounds, tell=tell, json_file=json)


@app.command("steady")
def run_steady(
    rate: Annotated[float, typer.Option(min=1, help="Events a second.")] = 300.0,
    seconds: Annotated[float, typer.Option(min=1, help="For how long.")] = 60.0,
    seed: Seed = 7,
    json: Json = None,
) -> None:
    """What a batch makes workers do at a steady rate, against what `timeline capacity` counts."""
    steady.run(rate=rate, seconds=seconds, seed=seed, tell=tell, json_file=json)


@app.command("columns")
def run_columns(
    points: Annotated[
        list[int] | None, typer.Option(min=2, help="Change points of each timeline; repeat for more sizes.")
    ] = None,
    keys: Annotated[int, typer.Option(min=1, help="Number of keys they belong to, at most.")] = 10_000,
    runs: Runs = 9,
    seed: Seed = 7,
    json: Json = None,
) -> None:
    """Merging two timelines in NumPy, Polars and Arrow."""
    sizes = points or [1_000, 30_000, 1_000_000]
    column_library.run(points=sizes, keys=keys, runs=runs, seed=seed, json_file=json)


@app.command("week")
def run_week(
    hours: Annotated[int, typer.Option(min=1, help="Hours of event time.")] = 168,
    sessions: Annotated[int, typer.Option(min=4, help="Sessions that begin in an hour.")] = 1_000,
    retention: Annotated[str, typer.Option(help="The metric's retention.")] = "6h",
    key_ttl: Annotated[str, typer.Option(help="The metric's key_ttl.")] = "2h",
    seed: Seed = 1,
    data: Annotated[
        Path | None, typer.Option(help="Keep the servers' data and the workers' log here.")
    ] = None,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw this SVG, and a PNG beside it.")] = None,
) -> None:
    """A week of sessions through durable workers: do their states and histories level off?"""
    load = week.Load(hours=hours, sessions_an_hour=sessions, retention=retention, key_ttl=key_ttl, seed=seed)

    def tell(sample: week.Sample, traffic: week.Traffic) -> None:
        typer.echo(
            f"hour {sample.hour:4d}  {traffic.sent:9,} events  state {sample.state_bytes / 2**20:7.2f} MiB  "
            f"history at most {sample.history_bytes_most / 2**20:6.2f} MiB  change points "
            f"{sample.change_points:9,}  keys {sample.keys:6,} held {sample.archived:8,} archived",
            err=True,
        )

    result = asyncio.run(week.run(load, tell, data))
    if json is not None:
        json.write_text(dumps(result, indent=1) + "\n")
    if plot is not None:
        week_plot.draw(result, plot)
    level = week.levels_off(result["samples"])
    typer.echo(
        f"{result['events']:,} events in {result['seconds']:.0f} s; {result['answers_compared']} answers "
        f"compared, {len(result['answers_wrong'])} wrong; greatest of the second half against the first: "
        + ", ".join(f"{name} {ratio:.2f}" for name, ratio in level.items())
    )
    if result["failed"] is not None:
        typer.echo(f"it ended after {len(result['samples'])} hours: {result['failed']}", err=True)
    if result["failed"] or result["answers_wrong"] or any(ratio > week.LEVEL for ratio in level.values()):
        leave(1)
    leave(0)


if __name__ == "__main__":
    try:
        app()
    except TimelineError as error:
        tell(f"error: {error}")
        sys.exit(1)
