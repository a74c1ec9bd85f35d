"""Metric files on the command line: a source that one names is in the catalog, or in a file beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from timeline_workers.alerts.rule_files import load_definition
from timeline_workers.errors import ConnectionFailedError, UnknownNameError
from timeline_workers.language.suggestions import nearest
from timeline_workers.metric.load import load_source
from timeline_workers.metric.model import Metric, StoredSource

from .in_file import naming

SourceOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--source",
        metavar="FILE",
        help="A source file, for a metric that names its source; may be repeated.",
        show_default="the catalog's",
    ),
]


def load(
    file: Path | str,
    source_files: Iterable[Path] | None = None,
    address: str | None = None,
    namespace: str | None = None,
) -> Metric:
    """Read a metric file, or a rule's as the metric of its truth. A source that it names is taken from
    ``source_files`` where there are any, else from the catalog.

    Raises MetricError, UnknownNameError with the nearest name, and ConnectionFailedError.
    """
    with naming(file):
        return load_definition(file, finder(source_files, address, namespace))


def finder(
    source_files: Iterable[Path] | None = None, address: str | None = None, namespace: str | None = None
) -> Callable[[str], StoredSource]:
    """What finds a source by its name: in ``source_files`` where there are any, else in the catalog."""
    files = list(source_files or ())
    return _from_files(files) if files else _from_catalog(address, namespace)


def _from_files(files: list[Path]) -> Callable[[str], StoredSource]:
    given = {source.name: source for source in map(load_source, files)}

    def find(name: str) -> StoredSource:
        if name not in given:
            near = nearest(name, given)
            hint = f"did you mean {near!r}?" if near else f"they define {', '.join(sorted(given))}"
            raise UnknownNameError(f"no file of --source defines source {name!r}; {hint}")
        return StoredSource(definition=given[name], version=0)

    return find


def _from_catalog(address: str | None, namespace: str | None) -> Callable[[str], StoredSource]:
    def find(name: str) -> StoredSource:
        # The libraries of servers are loaded only for a metric that needs them.
        from timeline_workers.client import TimelineClient

        async def ask() -> StoredSource:
            return await (await TimelineClient.connect(address, namespace)).source(name)

        try:
            return asyncio.run(ask())
        except ConnectionFailedError as error:
            raise ConnectionFailedError(
                f"source {name!r} is to be looked up in the catalog, which cannot be reached: {error}\n"
                f"Give its file with --source to do without"
            ) from error

    return find
