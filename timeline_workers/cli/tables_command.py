"""``timeline tables``: the event tables of others that a file declares, and what is in them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from timeline_workers.errors import TimelineError, UnknownNameError
from timeline_workers.event_tables.declaration import declared, read_tables
from timeline_workers.event_tables.open_table import OpenTables
from timeline_workers.events.times import from_microseconds

from .output import Output, OutputOption, complain, emit


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("tables", no_args_is_help=True)(tables)


def tables(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A YAML file that declares tables: see docs/tables.md.")
    ],
    table: Annotated[list[str] | None, typer.Argument(metavar="[TABLE]…", help="Which; all of them.")] = None,
    output: OutputOption = Output.json,
) -> None:
    """Open event tables of others, which `timeline serve --tables FILE` plays, and say how far they reach.

    Nothing is changed in them. A table whose rows can be asked for by key only has no first and last time
    here. The exit code is 1 where one cannot be opened.
    """
    said = read_tables(file)
    names = [name for name in table or said if declared(said, name)]
    rows, errors = asyncio.run(_looked_at(OpenTables(said), names))
    emit(rows, output)
    for error in errors:
        complain(f"error: {error}")
    if errors:
        raise typer.Exit(1)


async def _looked_at(
    tables: OpenTables, names: list[str]
) -> tuple[list[dict[str, Any]], list[TimelineError]]:
    rows: list[dict[str, Any]] = []
    errors: list[TimelineError] = []
    try:
        for name in names:
            try:
                table = await tables.table(name)
                extent = None if table.needs_keys else await table.extent(keys=None)
            except UnknownNameError:
                raise
            except TimelineError as error:
                errors.append(error)
                continue
            rows.append(
                {
                    "table": name,
                    "address": tables.declarations[name].shown(),
                    "first": None if extent is None else from_microseconds(extent.first, "iso"),
                    "last": None if extent is None else from_microseconds(extent.last, "iso"),
                }
            )
    finally:
        await tables.close()
    return rows, errors
