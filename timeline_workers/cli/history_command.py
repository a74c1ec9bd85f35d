"""``timeline history``: what is in a history store, moving it, and forgetting."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from timeline_workers.client import TimelineClient
from timeline_workers.errors import QuestionError, SettingsError
from timeline_workers.events.times import EARLIEST, LATEST, read_moment
from timeline_workers.history.day_files import Format
from timeline_workers.history.followed_to import least_followed
from timeline_workers.history.model import Forgotten, Status
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore
from timeline_workers.history.transfer import Moved, export_history, import_history, read_manifest
from timeline_workers.language.durations import parse_duration
from timeline_workers.metric.model import Metric
from timeline_workers.process.counted import counted
from timeline_workers.settings.history_settings import HistorySettings

from .cluster import AddressOption, NamespaceOption, with_client
from .history_table import rows_of, table
from .output import Output, OutputOption, emit

T = TypeVar("T")
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--history",
        metavar="ADDRESS",
        help="sqlite:PATH or postgresql://….",
        show_default="TIMELINE_HISTORY, or what `timeline dev` runs",
    ),
]
_TIME = "ISO 8601, or seconds since 1970."


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    history = typer.Typer(
        no_args_is_help=True, help="The history store: what is in it, moving it, forgetting."
    )
    history.command("status")(status)
    history.command("export")(export)
    history.command("import")(import_)
    history.command("forget")(forget)
    history.command("rebuild")(rebuild)
    app.add_typer(history, name="history")


def with_store(
    history: str | None, work: Callable[[HistoryStore], Awaitable[T]], *, create: bool = False
) -> T:
    """Run ``work`` with the store at an address, or that of the settings; with ``create`` it is made where
    there is none. Raises SettingsError where none is known, NoHistoryError where there is none.
    """
    from timeline_workers.servers.embedded.history_address import history_address

    address = history or history_address()
    if address is None:
        name = HistorySettings.variable("history")
        raise SettingsError(f"no history store is known; set {name}, or say --history ADDRESS")

    async def run() -> T:
        store = await open_history(address, create=create)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def status(output: OutputOption = Output.table, history: StoreOption = None) -> None:
    """Show what is stored: events by source definition, timelines by node, gaps, and how far all reach."""

    async def work(store: HistoryStore) -> tuple[Status, dict[str, int]]:
        found = await store.status()
        return found, await least_followed(store, found)

    found, followed = with_store(history, work)
    if output is Output.json:
        emit(rows_of(found, followed))
    else:
        typer.echo(table(found, followed), nl=False)


def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    format: Annotated[str, typer.Option(help="parquet (extra `frames`) or jsonl.")] = "parquet",
    start: Annotated[str | None, typer.Option("--from", help=f"From this event time on: {_TIME}")] = None,
    end: Annotated[str | None, typer.Option("--to", help=f"Before this event time: {_TIME}")] = None,
    as_of: Annotated[
        str | None, typer.Option(help=f"What was known then, by the store's clock: {_TIME}")
    ] = None,
    history: StoreOption = None,
) -> None:
    """Write events with their verdicts, and timelines, to files by day of event time.

    `FOLDER/events/day=2026-11-30/…` and `FOLDER/pieces/day=…`, which DuckDB, Spark and PyArrow read with a
    column `day`. Events whose time cannot be read are left out.
    """
    if format not in ("parquet", "jsonl"):
        raise QuestionError(f"--format {format}: write parquet or jsonl")
    chosen: Format = "parquet" if format == "parquet" else "jsonl"
    low = EARLIEST if start is None else read_moment(start)
    high = LATEST + 1 if end is None else read_moment(end)
    then = None if as_of is None else read_moment(as_of)

    async def work(store: HistoryStore) -> dict[str, int]:
        found = await store.status()
        total = sum(sum(one.outcomes.values()) for one in found.definitions) + found.rows
        moved = export_history(store, folder, format=chosen, start=low, end=high, as_of=then)
        return await _shown(moved, "exporting", total)

    _tell(f"exported to {folder}", with_store(history, work))


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `timeline history export` wrote.")],
    events_only: Annotated[bool, typer.Option("--events-only", help="Leave timelines out.")] = False,
    history: StoreOption = None,
) -> None:
    """Store what was exported, in a new store or an existing one. Events are stored once, however often that
    is done; timelines only where the store has none of the same nodes.
    """

    read_manifest(folder)  # before a store is made for it

    async def work(store: HistoryStore) -> dict[str, int]:
        return await _shown(import_history(store, folder, pieces=not events_only), "importing", None)

    _tell(f"imported from {folder}", with_store(history, work, create=True))


def forget(
    before: Annotated[
        str | None, typer.Option(help=f"Forget what lies below this event time: {_TIME}")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Forget what lies so far below the watermark, such as 30d.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Only what is stored of this metric, also where others share its definition and nodes; "
            "several may be given.",
            show_default="everything",
        ),
    ] = None,
    history: StoreOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Delete events and timelines below an event time. What holds there, and later, is answered as before."""
    if (before is None) == (older_than is None):
        raise QuestionError("say either --before TIME or --older-than DURATION")
    from timeline_workers.history.upkeep import forget_before, forget_older

    limit = None if before is None else read_moment(before)
    age = None if older_than is None else parse_duration(older_than)
    metrics = _metrics(metric, address, namespace)

    async def work(store: HistoryStore) -> Forgotten:
        if limit is not None:
            return await forget_before(store, limit, metrics)
        return await forget_older(store, age or 0, metrics)

    gone = with_store(history, work)
    typer.echo(
        f"forgotten: {counted(gone.events, 'event')}, {counted(gone.verdicts, 'verdict')}, "
        f"{counted(gone.pieces, 'change point')}"
    )


def rebuild(
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Only the events of this metric and others of its source definition; several may be given.",
            show_default="all",
        ),
    ] = None,
    history: StoreOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Have the feeder read again, when it starts next, what the broker retains, and store what is missing.

    For a store that is an older copy, or has lost some. Stop the feeders before: one that runs goes on from
    where it is. What is stored already stays as it is, verdicts included. Timelines need no rebuilding.
    """
    from timeline_workers.history.upkeep import read_again

    metrics = _metrics(metric, address, namespace)
    partitions = with_store(history, lambda store: read_again(store, metrics))
    typer.echo(f"{counted(partitions, 'partition is', 'partitions are')} read again when the feeder starts")


def _metrics(names: list[str] | None, address: str | None, namespace: str | None) -> list[Metric] | None:
    """The metrics that are named; None: no name is given, so everything is meant."""
    if not names:
        return None

    async def work(client: TimelineClient) -> list[Metric]:
        return [await client.metric(name) for name in names]

    return list(with_client(address, namespace, work))


async def _shown(moved: AsyncIterator[Moved], words: str, total: int | None) -> dict[str, int]:
    """Follow a transfer, with a bar for who is looking; how many rows of each kind there were."""
    counts: dict[tuple[str, str], int] = {}
    progress: Any = nullcontext()
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        progress = Progress(console=Console(stderr=True), transient=True)
    with progress as bar:
        task = None if bar is None else bar.add_task(words, total=total)
        async for one in moved:
            counts[one.kind, one.name] = one.rows
            if bar is not None:
                bar.update(task, completed=sum(counts.values()), description=f"{words} {one.name}")
    totals = {"events": 0, "pieces": 0}
    for (kind, _), rows in counts.items():
        totals[kind] += rows
    return totals


def _tell(what: str, totals: dict[str, int]) -> None:
    events = counted(totals["events"], "verdict on events", "verdicts on events")
    typer.echo(f"{what}: {events}, {counted(totals['pieces'], 'piece')} of timelines")
