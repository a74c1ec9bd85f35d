"""``timeline graph``: draw the graph of a metric, before or after it is applied, and say who shares it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from timeline_workers.errors import MetricError, QuestionError, TimelineError
from timeline_workers.metric.load import NETWORK, kind_of_file
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.drawing import to_dot, to_mermaid, to_svg, to_tree
from timeline_workers.plan.physical import Plan, plan
from timeline_workers.plan.sharing import sharing

from .definitions import SourceOption, load
from .in_file import naming

_CATALOG_SECONDS = 3.0


class Drawing(StrEnum):
    """The forms that a graph can be drawn in."""

    dot = "dot"
    svg = "svg"
    mermaid = "mermaid"
    tree = "tree"


def graph(
    metrics: Annotated[
        list[str],
        typer.Argument(metavar="METRIC.yaml|EXPR", help="Metric files, or an expression (@FILE reads one)."),
    ],
    form: Annotated[Drawing, typer.Option("-o", help="What to draw.")] = Drawing.tree,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write to this file instead of standard output.")
    ] = None,
    source: SourceOption = None,
) -> None:
    """Draw the graph of a metric or an expression, with the names of its workers.

    Below the tree stands which metrics share workers with it, and why others on its topic do not: the applied
    ones, where the catalog can be reached; of several files, these. A network of streams (tree, mermaid) is
    drawn as far as it is wired: what nothing flows into, or nothing reads, is shown as free.
    """
    if any(_is_network(one) for one in metrics):
        if len(metrics) > 1:
            raise QuestionError("a network is drawn alone; name one file")
        _network(metrics[0], form, output)
        return
    plans = [_planned(one, source) for one in metrics]
    if form is not Drawing.tree:
        if len(plans) > 1:
            raise QuestionError(f"-o {form.value} draws one metric; leave it out to compare several")
        text = {Drawing.dot: to_dot, Drawing.svg: to_svg, Drawing.mermaid: to_mermaid}[form](plans[0])
        if output is None:
            sys.stdout.write(text)
        else:
            output.write_text(text, encoding="utf-8")
        return
    applied = len(metrics) == 1 and _is_file(metrics[0])
    if output is None:
        _draw(Console(), plans, applied)
        return
    with output.open("w", encoding="utf-8") as file:
        _draw(Console(file=file, width=200), plans, applied)


def _draw(console: Console, plans: Sequence[Plan], applied: bool) -> None:
    for drawn in plans:
        console.print(to_tree(drawn))
    pairs = list(combinations(plans, 2))
    if applied:
        pairs = [(plans[0], other) for other in _applied(plans[0].metric)]
    for one, other in pairs:
        console.print(sharing(one, other), highlight=False, markup=False)


def _applied(metric: Metric) -> list[Plan]:
    """The plans of the other applied metrics on its topic; none where the catalog cannot be asked."""
    # The libraries of servers are loaded for this only.
    from timeline_workers.client import TimelineClient

    async def look() -> list[Plan]:
        async with asyncio.timeout(_CATALOG_SECONDS):
            applied = await (await TimelineClient.connect()).plans(metric.source.topic)
        return [other for other in applied if other.metric.name != metric.name]

    try:
        return asyncio.run(look())
    except (TimelineError, TimeoutError):
        return []


def _is_network(argument: str) -> bool:
    return _is_file(argument) and kind_of_file(argument) == NETWORK


def _network(file: str, form: Drawing, output: Path | None) -> None:
    from timeline_workers.streams.network_drawing import network_mermaid, network_tree
    from timeline_workers.streams.network_file import load_loose

    drawings = {Drawing.tree: network_tree, Drawing.mermaid: network_mermaid}
    if form not in drawings:
        raise QuestionError(f"-o {form.value}: networks are drawn as tree or mermaid; write one of these")
    text = drawings[form](load_loose(Path(file)))
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


def _is_file(argument: str) -> bool:
    return argument.endswith((".yaml", ".yml"))


def _planned(argument: str, source_files: list[Path] | None) -> Plan:
    if not _is_file(argument):
        return plan(_metric(argument))
    metric = load(Path(argument), source_files)
    with naming(argument):
        return plan(metric)


def _metric(argument: str) -> Metric:
    if argument.startswith("@"):
        try:
            argument = Path(argument[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise MetricError(f"cannot read {argument[1:]}: {reason}") from None
    # An expression alone has no source, so its workers have names that no applied metric has.
    source = Source(topic="events", key="key", time="time")
    # Not validated: that an expression is empty is for its own error to say.
    return Metric.model_construct(name="expression", source=source, expression=argument)
