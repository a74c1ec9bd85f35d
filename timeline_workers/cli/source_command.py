"""``timeline source``: the stored sources, which metrics can name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from timeline_workers.client import TimelineClient
from timeline_workers.metric.definition_file import source_file
from timeline_workers.metric.model import Metric, StoredSource

from .cluster import AddressOption, NamespaceOption, with_client
from .output import Output, OutputOption, complain, emit

SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help="The name of a stored source.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    sources = typer.Typer(
        no_args_is_help=True, help="Stored sources, which metrics can name; `timeline apply` stores them."
    )
    sources.command("list")(list_sources)
    sources.command("describe")(describe)
    sources.command("delete")(delete)
    app.add_typer(sources, name="source")


def list_sources(
    output: OutputOption = Output.table, address: AddressOption = None, namespace: NamespaceOption = None
) -> None:
    """List the stored sources, and which metrics name them.

    A metric keeps the version that its source had when it was applied; one that is not the latest is shown.
    """

    async def work(client: TimelineClient) -> tuple[list[StoredSource], list[Metric]]:
        return await client.sources(), await client.metrics()

    stored, metrics = with_client(address, namespace, work)
    if not stored and output is Output.table:
        complain("no source is stored; store one with `timeline apply SOURCE.yaml`")
        return
    emit([_row(one, metrics) for one in stored], output)


def _row(stored: StoredSource, applied: list[Metric]) -> dict[str, Any]:
    source, name = stored.definition.source, stored.definition.name
    used = {metric.name: metric.named_source for metric in applied if metric.named_source is not None}
    metrics = [
        metric if of.version == stored.version else f"{metric} (version {of.version})"
        for metric, of in sorted(used.items())
        if of.name == name
    ]
    return {
        "source": name,
        "version": stored.version,
        "topic": source.topic,
        "key": source.key,
        "time": source.time,
        "columns": len(source.columns),
        "partitions": source.partitions,
        "metrics": ", ".join(metrics),
    }


def describe(
    name: SourceArgument,
    output: Annotated[
        Output | None,
        typer.Option("-o", "--output", help="As JSON or a table.", show_default="its file (YAML)"),
    ] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Print the definition of a stored source, as its file reads."""
    stored: StoredSource = with_client(address, namespace, lambda client: client.source(name))
    if output is None:
        typer.echo(f"# version {stored.version}")
        typer.echo(source_file(stored.definition), nl=False)
    else:
        emit([{"version": stored.version, **stored.definition.model_dump(mode="json")}], output)


def delete(name: SourceArgument, address: AddressOption = None, namespace: NamespaceOption = None) -> None:
    """Remove a stored source that no applied metric names."""
    with_client(address, namespace, lambda client: client.delete_source(name))
    typer.echo(f"source {name} is removed")
