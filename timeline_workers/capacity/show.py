"""A need in words and round numbers, for people."""

from __future__ import annotations

import math
from collections.abc import Iterator

from . import limits
from .terms import Need

Row = tuple[str, str]


def rows(need: Need) -> Iterator[Row]:
    """What is needed, a line each."""
    layout, workers = need.layout, need.workers // need.layout.topics
    several = "" if layout.topics == 1 else f" on each of {layout.topics} topics, a metric each"
    yield (
        "feeders",
        (f"{layout.feeders}{several}: `--batch {layout.batch} --gather-ms {round(1e3 * layout.wait)}`"),
    )
    partitions = f"{number(need.pulsar_partitions)} partition{'s' if need.pulsar_partitions != 1 else ''}"
    yield "Pulsar", f"{partitions} in all, {size(need.topic_bytes)}/s come in"
    yield "partitions of the metric", f"{layout.partitions}{several}"
    yield (
        "workers (workflows)",
        f"{number(need.workers)}" + ("" if layout.topics == 1 else f", {workers:,} a topic"),
    )
    yield "fullest partition", f"{need.skew:.2f} × the mean"
    yield "worker processes", f"{number(need.worker_processes)} of a core, half busy"
    yield "answers include an event after", f"{need.fresh_seconds:.1f} s"
    yield (
        "signals",
        (
            f"{number(need.signals)}/s, {number(need.feeder_signals)} from feeders; "
            f"{number(need.events_per_leaf_message)} events in one to a leaf, batches of {need.batch:,}"
        ),
    )
    yield "workflow tasks", f"{number(need.tasks)}/s"
    yield "history", f"{number(need.history_events)} events/s, {size(need.history_bytes)}/s"
    yield "new runs", f"{number(need.runs)}/s"
    yield "history shards", f"{need.shards:,}"
    yield (
        "database",
        (
            f"{number(need.transactions)} transactions/s, {number(need.rows)} rows/s, "
            f"log {size(need.database_log)}/s, holds {size(need.open_bytes + need.retained_bytes)}"
        ),
    )
    yield "state, packed", f"{size(need.state)}; largest {size(need.largest_state)}"
    yield "memory of worker processes", size(need.memory)
    if need.archive_bytes_a_day:
        yield (
            "archives",
            f"{number(need.archives_a_day)} workflows and {size(need.archive_bytes_a_day)} a day, kept",
        )
    yield (
        "cores, busy",
        (
            f"{number(need.cores)}: feeders {number(need.feeder_cores)}, "
            f"workers {number(need.worker_cores)}, Temporal {number(need.server_cores)}, "
            f"database {number(need.database_cores)}"
        ),
    )
    yield "self-hosted", f"{money(need.self_hosted)} a month, list price"
    units = math.ceil(need.actions / limits.NAMESPACE_ACTIONS)
    yield (
        "Temporal Cloud",
        (
            f"{number(need.actions)} actions/s, {number(units)} resource units; "
            f"{money(need.cloud_actions)} a month at most, storage {money(need.cloud_storage)}"
        ),
    )


def limit_rows(need: Need) -> Iterator[tuple[str, str, str, str, str]]:
    """Name, need, limit, share and remedy of each limit, the nearest to its end first."""
    for limit in sorted(need.limits, key=lambda limit: -limit.use):
        measure = size if limit.unit == "bytes" else number
        unit = "" if limit.unit == "bytes" else f" {limit.unit}"
        kind = "" if limit.hard else " (guidance)"
        yield (
            limit.name + kind,
            measure(limit.need),
            f"{measure(limit.most)}{unit}",
            f"{100 * limit.use:,.0f} %",
            limit.remedy,
        )


def number(value: float) -> str:
    """With three digits at most where it is not whole, and commas."""
    if value >= 100 or value == int(value):
        digits = max(0, len(str(int(value))) - 3)
        return f"{int(round(value, -digits)):,}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes, in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1_000 or unit == "TB":
            break
        value /= 1_000
    return f"{value:.3g} {unit}" if value < 1_000 else f"{number(value)} {unit}"


def money(value: float) -> str:
    """Dollars."""
    return f"${number(value)}"
