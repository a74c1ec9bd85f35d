"""``timeline graph``: draw the graph of a metric, before or after it is applied."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import MetricError
from ..graph.draw import to_dot, to_mermaid, to_svg, to_tree
from ..graph.plan import plan
from ..metric import Metric, Source, load_metric


class Drawing(StrEnum):
    """The forms that a graph can be drawn in."""

    dot = "dot"
    svg = "svg"
    mermaid = "mermaid"
    tree = "tree"


def graph(
    metric: Annotated[
        str,
        typer.Argument(metavar="METRIC.yaml|EXPR", help="A metric file, or an expression (@FILE reads one)."),
    ],
    form: Annotated[Drawing, typer.Option("-o", help="What to draw.")] = Drawing.tree,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write to this file instead of standard output.")
    ] = None,
) -> None:
    """Draw the graph of a metric or an expression, with the names of its workers."""
    drawn = plan(_metric(metric))
    if form is Drawing.tree:
        if output is None:
            Console().print(to_tree(drawn))
            return
        with output.open("w", encoding="utf-8") as file:
            Console(file=file, width=200).print(to_tree(drawn))
        return
    text = {Drawing.dot: to_dot, Drawing.svg: to_svg, Drawing.mermaid: to_mermaid}[form](drawn)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


def _metric(argument: str) -> Metric:
    if argument.endswith((".yaml", ".yml")):
        return load_metric(Path(argument))
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
