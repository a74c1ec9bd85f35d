"""Plots of comparisons: rates as bars on a logarithmic scale, one panel a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import Comparison


def pyplot(salt: str) -> Any:
    """Matplotlib's pyplot, set up so that the same data give the same file."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": salt, "font.size": 8, "svg.fonttype": "none"})
    from matplotlib import pyplot as found

    return found


def save(figure: Any, file: Path) -> None:
    """Write ``file`` and, where it is an SVG, a PNG beside it."""
    figure.tight_layout()
    if file.suffix == ".svg":
        figure.savefig(file, metadata={"Date": None})
        figure.savefig(file.with_suffix(".png"), dpi=80)
    else:
        figure.savefig(file, dpi=100)


def draw_rates(name: str, comparisons: Sequence[Comparison], file: Path) -> None:
    """Draw each contender's median rate, with a line from its least to its greatest."""
    plots = pyplot(name)
    rows = sum(len(c.results) + 2 for c in comparisons)
    heights = [len(c.results) + 2 for c in comparisons]
    figure, panels = plots.subplots(
        len(comparisons),
        1,
        figsize=(8.4, 0.28 * rows + 0.6),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for axes, comparison in zip(panels[:, 0], comparisons, strict=True):
        results = [r for r in comparison.results[::-1] if r.seconds]
        rates = [r.items / r.median for r in results]
        low = [rate - min(r.rates) for rate, r in zip(rates, results, strict=True)]
        high = [max(r.rates) - rate for rate, r in zip(rates, results, strict=True)]
        ours = ["#2a6f97" if r.name.startswith(comparison.baseline) else "#b8c4cc" for r in results]
        axes.barh([r.name for r in results], rates, xerr=[low, high], color=ours, error_kw={"lw": 0.8})
        for place, rate in enumerate(rates):
            axes.text(rate, place, f"  {rate:,.0f}", va="center", fontsize=7)
        axes.set_xscale("log")
        axes.set_xlim(min(rates) / 3, max(rates) * 6)
        axes.set_title(f"{comparison.title}: {comparison.unit} a second", fontsize=8, loc="left")
        axes.grid(alpha=0.3, axis="x")
    save(figure, file)
