"""``python -m benchmarks kernel|columns``: run a benchmark, print a table, keep the numbers as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import column_library, kernel

app = typer.Typer(help="Benchmarks of the engine.", no_args_is_help=True, add_completion=False)
Runs = Annotated[int, typer.Option(min=1, help="Timed runs of each contender.")]
Seed = Annotated[int, typer.Option(help="Seed of the generated data.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]


@app.command("kernel")
def run_kernel(
    events: Annotated[int, typer.Option(min=1, help="Number of events.")] = 1_000_000,
    keys: Annotated[int, typer.Option(min=1, help="Number of sessions.")] = 10_000,
    runs: Runs = 3,
    seed: Seed = 7,
    only: Annotated[list[str] | None, typer.Option(help="Only these contenders.")] = None,
    json: Json = None,
) -> None:
    """CIRR: our engine, Bytewax and a plain Python loop over the same events."""
    unknown = set(only or []) - set(kernel.CONTENDERS)
    if unknown:
        raise typer.BadParameter(
            f"no contender is named {', '.join(sorted(unknown))}; choose among {', '.join(kernel.CONTENDERS)}"
        )
    kernel.run(kernel.Load(events=events, keys=keys, seed=seed), runs=runs, only=only, json_file=json)


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


if __name__ == "__main__":
    app()
