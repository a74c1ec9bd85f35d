"""The plot of ``benchmarks week``: what the workers hold over a week of event time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MIB = 1 << 20


def draw(result: Mapping[str, Any], file: Path) -> None:
    """Draw the samples of a week into ``file``, and the same as PNG beside it."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "week", "font.size": 8, "svg.fonttype": "none"})
    from matplotlib import pyplot

    samples, load = result["samples"], result["load"]
    days = [sample["hour"] / 24 for sample in samples]

    def of(name: str, unit: float = 1.0) -> list[float]:
        return [sample[name] / unit for sample in samples]

    figure, ((state, history), (points, keys)) = pyplot.subplots(2, 2, figsize=(8.4, 5.0), sharex=True)
    workers = len(samples[0]["by_worker"])
    state.plot(days, of("state_bytes", _MIB), label=f"all {workers} workers")
    state.plot(days, of("state_bytes_most", _MIB), label="the largest")
    state.set_title("state in memory, MiB")
    history.plot(days, of("history_bytes_most", _MIB), label="the longest, MiB")
    history.plot(days, [n / 1000 for n in of("history_events_most")], label="the longest, 1,000 events")
    history.set_title("history of a run")
    points.plot(days, of("change_points", 1000), label="change points held")
    points.plot(days, of("log_events", 1000), label="events held by leaves")
    points.set_title("rows, thousands, all workers")
    keys.plot(days, of("keys", 1000), label="held by the result workers")
    keys.plot(days, of("archived", 1000), label="in archives")
    keys.set_title("keys, thousands")
    for axes in (state, history, points, keys):
        axes.set_ylim(0, 1.4 * axes.get_ylim()[1])  # room for the legend
        axes.set_xlim(0, max(days))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="upper left")
    for axes in (points, keys):
        axes.set_xlabel("days of event time")
    figure.suptitle(
        f"{load['sessions_an_hour']:,} sessions an hour, {result['events']:,} events, retention "
        f"{load['retention']}, key_ttl {load['key_ttl']}"
    )
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    figure.savefig(file.with_suffix(".png"), dpi=80)
