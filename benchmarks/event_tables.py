"""Event tables of others: how long what the player asks takes, while rows are appended to them.

``rows`` events are stored, then 2,000 more five times a second, while one reader asks one question after the
other, at random places of the day. DynamoDB is left out: moto's server says nothing of AWS's.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from timeline_workers.event_tables.event_table import EventTable
from timeline_workers.event_tables.open_table import open_table
from timeline_workers.playback.requests import WhatIfChannel
from timeline_workers.playback.table_channels import SharedTable
from timeline_workers.playback.table_what_if import TableEvents

from . import day
from .report import machine, versions

KINDS: Final = ("postgresql", "parquet", "jsonl")
PULSE: Final = 2_000
MINUTE: Final = 60 * day.SECOND
LANES: Final = 200  # keys whose lanes are computed
Append = Callable[[Sequence[day.Event]], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """``windows``: milliseconds of each question, sorted; ``lanes``: of nodes and keys, computed a second."""

    kind: str
    rows: int
    appended: int
    windows: dict[str, list[float]]
    lanes: float

    def text(self) -> str:
        """Lines for people."""
        lines = [f"{self.kind}: {self.rows:,} rows, {self.appended:,} appended; {self.lanes:,.0f} lanes/s"]
        for what, found in self.windows.items():
            p50, p95 = (found[int(share * (len(found) - 1))] for share in (0.5, 0.95))
            lines.append(
                f"  {what:32} {p50:>9.1f} ms p50 {p95:>9.1f} p95 {found[-1]:>9.1f} most  of {len(found)}"
            )
        return "\n".join(lines)


def questions(table: EventTable, chance: random.Random, keys: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What a player asks of a table, about a place of the day."""
    start = chance.randrange(day.DAY - 60 * MINUTE)
    key = [f"s{chance.randrange(keys)}"]
    parts = [start + part * MINUTE * 60 // 100 for part in range(101)]
    return {
        "1,000 events of all keys": lambda: table.rows(start, day.DAY, keys=None, limit=1_000),
        "a second of all keys": lambda: table.rows(start, start + day.SECOND, keys=None, limit=1_000),
        "an hour of one key": lambda: table.rows(start, start + 60 * MINUTE, keys=key, limit=1_000),
        "count of a minute": lambda: table.counts([start, start + MINUTE], keys=None),
        "density of an hour in 100 parts": lambda: table.counts(parts, keys=None),
        "the event before": lambda: table.neighbour(start, back=True, keys=None),
        "how far it reaches": lambda: table.extent(keys=None),
    }


@contextmanager
def appending(kind: str, where: str, first: int) -> Iterator[Append]:
    """How further events are appended."""
    if kind == "jsonl":
        with Path(where.removeprefix("jsonl:")).open("a") as file:

            def lines(batch: Sequence[day.Event]) -> None:
                file.writelines(json.dumps(event.payload()) + "\n" for event in batch)
                file.flush()

            yield lines
    elif kind == "parquet":
        folder, numbers = Path(where.removeprefix("parquet:")).parent, count(first)
        yield lambda batch: day.write_parquet(folder / f"{next(numbers):05}.parquet", batch)
    else:
        with day.connected(where) as connection:
            yield lambda batch: day.copy(connection, batch)


async def measure(kind: str, address: str, rows: int, keys: int, seconds: float, seed: int) -> Measured:
    """Ask for ``seconds`` while rows are appended."""
    chance, windows = random.Random(seed), dict[str, list[float]]()
    table = await open_table(kind, day.declaration(address))
    done, appended = asyncio.Event(), 0

    async def go_on(append: Append) -> None:
        nonlocal appended
        source = day.events(10 * rows + 100 * PULSE, keys, seed + 1)
        while not done.is_set():
            began = time.perf_counter()
            batch = [
                day.Event(day.DAY + appended + number, event.key, event.state)
                for number, event in zip(range(PULSE), source, strict=False)
            ]
            await asyncio.to_thread(append, batch)
            appended += len(batch)
            await asyncio.sleep(max(0.0, 0.2 - (time.perf_counter() - began)))

    try:
        lanes = await _lanes(table, keys)
        with appending(kind, address, 10**4) as append:
            writing = asyncio.create_task(go_on(append))
            end = time.perf_counter() + seconds
            while not windows or time.perf_counter() < end:
                for what, ask in questions(table, chance, keys).items():
                    began = time.perf_counter()
                    await ask()
                    windows.setdefault(what, []).append(1e3 * (time.perf_counter() - began))
            done.set()
            await writing
    finally:
        await table.close()
    return Measured(kind, rows, appended, {what: sorted(found) for what, found in windows.items()}, lanes)


async def _lanes(table: EventTable, keys: int) -> float:
    """Lanes of all nodes of an expression, computed a second, reading included."""
    shown: list[int | str] = [f"s{number}" for number in range(min(LANES, keys))]
    channel = WhatIfChannel(channel="try", expression=day.CIRR, like=day.NAME, keys=shown, nodes="all")
    began = time.perf_counter()
    computed, _ = await TableEvents(SharedTable(table, day.SECOND, 0.0), channel).compute()
    for node in computed.nodes:
        computed.pieces(node.text, 0, 2 * day.DAY)
    return len(computed.keys) * len(computed.nodes) / (time.perf_counter() - began)


def run(
    *,
    kinds: list[str],
    rows: int,
    keys: int,
    seconds: float,
    seed: int,
    tell: Callable[[str], object],
    json_file: Path | None = None,
) -> list[Measured]:
    """Measure each kind of table."""
    found: list[Measured] = []
    for kind in kinds:
        with ExitStack() as stack:
            where = stack.enter_context(tempfile.TemporaryDirectory(prefix="tables-"))
            if kind == "postgresql":
                from tests.history.stores import postgres_server

                where = stack.enter_context(postgres_server())
            address = asyncio.run(day.make(kind, where, rows, keys, seed))
            found.append(asyncio.run(measure(kind, address, rows, keys, seconds, seed)))
            tell(found[-1].text())
    if json_file is not None:
        said = {
            "benchmark": "tables",
            "machine": machine(),
            "versions": versions(("duckdb", "psycopg", "numpy", "pydantic")),
            "parameters": {"rows": rows, "keys": keys, "seconds": seconds, "seed": seed},
            "measured": [_summary(one) for one in found],
        }
        json_file.write_text(json.dumps(said, indent=2) + "\n")
    return found


def _summary(one: Measured) -> dict[str, Any]:
    said = asdict(one)
    said["windows"] = {
        what: {
            "asked": len(times),
            "ms_p50": round(times[(len(times) - 1) // 2], 2),
            "ms_p95": round(times[int(0.95 * (len(times) - 1))], 2),
            "ms_most": round(times[-1], 2),
        }
        for what, times in one.windows.items()
    }
    return said
