"""Results of contenders: a table for people, JSON for comparing runs, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table


class Result(msgspec.Struct):
    """Seconds of every run of one contender, over ``items`` items each.

    ``cpu_seconds``: processor time of the same runs, which a busy machine disturbs less.
    """

    name: str
    items: int
    seconds: list[float]
    cpu_seconds: list[float] = []

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "items": self.items,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "median": self.median,
            "least": min(self.seconds),
            "greatest": max(self.seconds),
            "items_per_second": self.items / self.median,
        }


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
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


def show(
    title: str,
    results: Sequence[Result],
    *,
    baseline: str,
    unit: str,
    parameters: dict[str, Any],
    packages: Sequence[str],
    json_file: Path | None,
) -> None:
    """Print the table and write the JSON file if one is asked for.

    The ratio is to the contender named ``baseline`` over as many items.
    """
    base = {r.items: r.median for r in results if r.name == baseline}
    caption = f"ms: median; M/s: million {unit} a second; ratio: time over that of {baseline}"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for heading in ("contender", unit, "ms", "from - to", "cpu ms", "M/s", "ratio"):
        table.add_column(heading, justify="left" if heading == "contender" else "right", no_wrap=True)
    for r in results:
        table.add_row(
            r.name,
            f"{r.items:,}",
            f"{r.median * 1e3:.1f}",
            f"{min(r.seconds) * 1e3:.1f} - {max(r.seconds) * 1e3:.1f}",
            f"{statistics.median(r.cpu_seconds) * 1e3:.1f}" if r.cpu_seconds else "",
            f"{r.items / r.median / 1e6:.2f}",
            f"{r.median / base[r.items]:.2f}" if r.items in base else "",
        )
    where, used = machine(), versions(packages)
    console = Console()
    console.print(table)
    console.print(", ".join(f"{k} {v}" for k, v in parameters.items()), highlight=False)
    console.print(
        f"{where['cpu']}, {where['cores']} cores, {where['system']}, Python {where['python']}; "
        + ", ".join(f"{name} {number}" for name, number in used.items() if number),
        highlight=False,
    )
    if json_file is not None:
        document = {
            "benchmark": title,
            "machine": where,
            "versions": used,
            "parameters": parameters,
            "results": [r.as_dict() for r in results],
        }
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        console.print(f"written to {json_file}", highlight=False)
