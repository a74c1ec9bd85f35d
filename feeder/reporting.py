"""Reports on the feeding: counts, one live line on a terminal, log lines otherwise."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from time import monotonic

import structlog
from rich.console import Console
from rich.live import Live
from rich.text import Text

from feeder.delivery.leaf_delivery import Leaves

log = structlog.get_logger("feeder")

REFRESH_SECONDS = 0.5
LOG_SECONDS = 10.0


@dataclass(slots=True)
class Counts:
    """What has become of the messages of a topic since the feeder started.

    ``missing``: by column and reason, values that did not fit and count as missing, in events that were fed.
    """

    messages: int = 0
    events: int = 0
    late: int = 0
    refused: int = 0
    skipped: int = 0
    replayed: int = 0
    batches: int = 0
    gaps: int = 0
    lag: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)

    def note_missing(self, topic: str, found: Counter[str]) -> None:
        """Add ``found``, and log a column and reason that are new."""
        for what in found.keys() - self.missing.keys():
            log.warning(
                "value does not fit the type of its column; treated as missing (on_bad_value)",
                value=what,
                topic=topic,
            )
        self.missing.update(found)


def summary(counts: Iterable[Counts], signals: int, rate: float) -> dict[str, int | float]:
    """Add up what happened on all topics; ``rate``: messages per second of late; ``lag_s``: the worst of
    them.
    """
    every = list(counts)
    return {
        "messages": sum(c.messages for c in every),
        "per_second": round(rate),
        "lag_s": round(max((c.lag for c in every), default=0.0), 2),
        "events": sum(c.events for c in every),
        "late": sum(c.late for c in every),
        "refused": sum(c.refused for c in every),
        "missing": sum(c.missing.total() for c in every),
        "replayed": sum(c.replayed for c in every),
        "gaps": sum(c.gaps for c in every),
        "batches": sum(c.batches for c in every),
        "signals": signals,
    }


def reasons(counts: Iterable[Counts]) -> dict[str, dict[str, int]]:
    """The field ``reasons`` of a log line, where it has any: how many events have become dead letters, by
    reason.
    """
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one.reasons)
    return {"reasons": dict(total.most_common())} if total else {}


async def report(counts: Mapping[str, Counts], leaves: Leaves, stop: asyncio.Event) -> None:
    """Show rates and lag until ``stop`` is set; a log line only when something has happened."""
    console = Console(stderr=True)
    live = console.is_terminal
    pause = REFRESH_SECONDS if live else LOG_SECONDS
    before, since = 0, monotonic()
    with ExitStack() as stack:
        line = (
            stack.enter_context(Live(console=console, auto_refresh=False, transient=True)) if live else None
        )
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            total, now = sum(c.messages for c in counts.values()), monotonic()
            numbers = summary(counts.values(), leaves.signals, (total - before) / max(now - since, 1e-9))
            if line is not None:
                line.update(
                    Text("  ".join(f"{k} {v:,}" for k, v in numbers.items()), style="dim"), refresh=True
                )
            elif total != before:
                log.info("fed", **numbers, **reasons(counts.values()))
            before, since = total, now
