"""Results: a table for people, JSON for comparing runs, a plot, and the machine they were taken on.

What counts is the *ratio* of rates within one run: on another machine, or on a busy one, the rates differ
and the ratios hardly do. It is taken turn by turn, and shown with its median, least and greatest.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table


class Result(msgspec.Struct):
    """Seconds of every run of one contender, over ``items`` items each.

    ``cpu_seconds``: processor time of the same runs, which a busy machine disturbs less. ``notes``: what else
    each run has measured. ``covers``: what the time covers.
    """

    name: str
    items: int
    seconds: list[float]
    cpu_seconds: list[float] = []
    notes: list[dict[str, float]] = []
    covers: str = ""

    @property
    def median(self) -> float:
        """Seconds of the run in the middle."""
        return statistics.median(self.seconds)

    @property
    def rates(self) -> list[float]:
        """Items a second, of every run."""
        return [self.items / seconds for seconds in self.seconds]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **msgspec.to_builtins(self),
            "median": self.median,
            "least": min(self.seconds),
            "greatest": max(self.seconds),
            "items_per_second": self.items / self.median,
        }


class Comparison(msgspec.Struct):
    """Contenders that did the same. ``baseline``: the one whose rate over another's is that one's ratio."""

    title: str
    baseline: str
    unit: str
    parameters: dict[str, Any]
    results: list[Result]

    def ratios(self, result: Result, *, cpu: bool = False) -> list[float]:
        """The baseline's rate over this one's, turn by turn; empty without a baseline."""
        base = next((r for r in self.results if r.name == self.baseline), None)
        if base is None:
            return []
        ours, theirs = (r.cpu_seconds if cpu else r.seconds for r in (base, result))
        share = base.items / result.items
        return [share * b / a if a else math.inf for a, b in zip(ours, theirs, strict=False)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title,
            "baseline": self.baseline,
            "unit": self.unit,
            "parameters": self.parameters,
            "results": [
                {**r.as_dict(), "ratios": self.ratios(r), "cpu_ratios": self.ratios(r, cpu=True)}
                for r in self.results
            ],
        }


def machine() -> dict[str, Any]:
    """What the numbers were taken on, and how busy it was."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Installed version of each package, None for one that is missing."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def say(comparison: Comparison, console: Console | None = None) -> None:
    """Print one comparison as a table, and what each contender's time covers."""
    caption = (
        f"ms: median; k/s: thousand {comparison.unit} a second; ratio: the rate of {comparison.baseline} "
        "over this one's, turn by turn, and by processor time"
    )
    table = Table(title=comparison.title, title_justify="left", caption=caption, caption_justify="left")
    for heading in ("contender", comparison.unit, "ms", "from - to", "k/s", "ratio", "from - to", "by cpu"):
        table.add_column(heading, justify="left" if heading == "contender" else "right", no_wrap=True)
    for r in comparison.results:
        ratios, by_cpu = comparison.ratios(r), comparison.ratios(r, cpu=True)
        table.add_row(
            r.name,
            f"{r.items:,}",
            f"{r.median * 1e3:,.0f}",
            f"{min(r.seconds) * 1e3:,.0f} - {max(r.seconds) * 1e3:,.0f}",
            f"{r.items / r.median / 1e3:,.0f}",
            f"{statistics.median(ratios):.2f}" if ratios else "",
            f"{min(ratios):.2f} - {max(ratios):.2f}" if ratios else "",
            f"{statistics.median(by_cpu):.2f}" if by_cpu else "",
        )
    out = console or Console(width=max(110, Console().width))
    out.print(table)
    for r in comparison.results:
        if r.covers:
            out.print(f"  {r.name}: {r.covers}", highlight=False, markup=False)
        for what in r.notes[0] if r.notes else ():
            values = [note[what] for note in r.notes]
            digits = 2 if max(values) < 1_000 else 0
            numbers = (statistics.median(values), min(values), max(values))
            median, least, greatest = (f"{number:,.{digits}f}" for number in numbers)
            said = f"{median} ({least} - {greatest})"
            out.print(f"  {r.name}: {what} {said}", highlight=False, markup=False)
    out.print("  " + ", ".join(f"{k} {v}" for k, v in comparison.parameters.items()), highlight=False)


def finish(
    name: str,
    comparisons: Sequence[Comparison],
    used: Mapping[str, str | None],
    *,
    json_file: Path | None = None,
    plot_file: Path | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print the machine and the versions ``used``; write the JSON and the plot that are asked for."""
    where = machine()
    console = Console(width=max(110, Console().width))
    console.print(
        f"{where['cpu']}, {where['cores']} cores, {where['system']}, Python {where['python']}, load average "
        f"{where['load_average']}; "
        + ", ".join(f"{name} {number}" for name, number in used.items() if number),
        highlight=False,
    )
    if json_file is not None:
        document = {
            "benchmark": name,
            "machine": where,
            "versions": dict(used),
            "comparisons": [c.as_dict() for c in comparisons],
            **(more or {}),
        }
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        console.print(f"written to {json_file}", highlight=False)
    if plot_file is not None and comparisons:
        from .plot import draw_rates

        draw_rates(name, comparisons, plot_file)
        console.print(f"drawn in {plot_file}", highlight=False)
