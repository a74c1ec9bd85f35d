"""History stores: rows appended a second, and how long windows take to read while rows are appended.

Appending has nothing beside it. Then, for ``seconds``, ``PULSE`` events and as many rows of lanes are
appended five times a second while one reader asks for a minute of one key's lanes, of its events, a snapshot
and a correction's extent, one question after the other.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from timeline_workers.history.model import (
    Judged,
    Outcome,
    Position,
    RawEvent,
    Revision,
    Verdict,
    Writer,
)
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore

SECOND = 1_000_000
BATCH, PULSE = 1_000, 2_000
NODES = [f"node-{number}" for number in range(11)]
LATE = 0.02
STATES = ("play", "pause", "buffer", "seek")


@dataclass
class Load:
    """Events of ``keys`` sessions, one a millisecond, and what eleven nodes say of them; 2 % come late."""

    keys: int
    seed: int
    events: int = 0
    stamps: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def _time(self) -> int:
        behind = self._random.randrange(60 * SECOND) if self._random.random() < LATE else 0
        return max(self.events * 1_000 - behind, 0)

    async def append_events(self, store: HistoryStore, many: int) -> float:
        """Append ``many`` events; the seconds that the store took."""
        raw, verdicts = [], []
        for _ in range(many):
            at, key = self._time(), f"session-{self._random.randrange(self.keys)}"
            said = {"session_id": key, "timestamp": at / SECOND, "state": self._random.choice(STATES)}
            position = Position(0, 0, self.events)
            raw.append(RawEvent(position, json.dumps(said).encode(), at))
            verdicts.append(Verdict(position, Outcome.ACCEPTED, key, at))
            self.events += 1
        began = time.perf_counter()
        await store.append_events("events", raw, [Judged("events-1", verdicts, {0: self.events * 1_000})])
        return time.perf_counter() - began

    async def append_rows(self, store: HistoryStore, many: int) -> float:
        """Append ``many`` revisions of a piece each; those of late events take back what came after."""
        self.stamps += 1
        node = NODES[self.stamps % len(NODES)]
        revisions = []
        for _ in range(many):
            at, key = self._time(), f"session-{self._random.randrange(self.keys)}"
            slope = Fraction(self._random.randrange(2))
            revisions.append(Revision(key, at, [(at, Fraction(self._random.randrange(9_999), 8), slope)]))
        began = time.perf_counter()
        await store.append_revisions(Writer(f"{node}.p0", node), (self.stamps, 0), revisions)
        return time.perf_counter() - began

    def questions(self, store: HistoryStore, seen: int) -> dict[str, Callable[[], Awaitable[object]]]:
        """What a page asks for, about the last minutes."""
        now = self.events * 1_000
        start = max(now - self._random.randrange(1, 10) * 60 * SECOND, 0)
        key = f"session-{self._random.randrange(self.keys)}"
        window = (start, start + 60 * SECOND)
        return {
            "lanes of one key": lambda: store.pieces(NODES, *window, keys=[key]),
            "lanes of one key, as of": lambda: store.pieces(NODES, *window, keys=[key], as_of=seen),
            "events of one key": lambda: store.events("events-1", *window, keys=[key]),
            "1,000 events of all keys": lambda: store.events("events-1", *window, limit=1_000),
            "snapshot of 50 keys": lambda: store.snapshot(
                NODES, start, keys=[f"session-{number}" for number in range(50)]
            ),
            "what changed in 0.2 s": lambda: store.changed_since(NODES[:1], seen, keys=[key]),
            "density in 1,000 parts": lambda: store.density("events-1", *window, 1_000),
        }


@dataclass(frozen=True)
class Measured:
    """``rates``: a second; ``windows``: seconds of each question; ``bytes``: of the store by row or event."""

    rates: dict[str, float]
    windows: dict[str, list[float]]
    bytes: float

    def text(self) -> str:
        """Lines for people."""
        lines = [f"{what:28} {rate:>12,.0f} /s" for what, rate in self.rates.items()]
        lines.append(f"{'bytes a row or event':28} {self.bytes:>12,.0f}")
        for what, seconds in self.windows.items():
            ordered = sorted(seconds)
            p50, p95 = (1e3 * ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95))
            lines.append(f"{what:28} {p50:>9.1f} ms p50 {p95:>9.1f} ms p95  of {len(ordered)}")
        return "\n".join(lines)


async def measure(store: HistoryStore, load: Load, rows: int, seconds: float) -> Measured:
    """Append ``rows`` events and as many rows, then ask for ``seconds`` while more is appended."""
    rates = {}
    for what, append in (("events appended", load.append_events), ("rows appended", load.append_rows)):
        rates[what] = rows / sum([await append(store, BATCH) for _ in range(0, rows, BATCH)])
    seen = (await store.status()).seen
    done = asyncio.Event()

    async def go_on() -> None:
        while not done.is_set():
            began = time.perf_counter()
            await load.append_events(store, PULSE)
            await load.append_rows(store, PULSE)
            await asyncio.sleep(max(0.0, 0.2 - (time.perf_counter() - began)))

    writing = asyncio.create_task(go_on())
    windows: dict[str, list[float]] = {}
    end = time.perf_counter() + seconds
    while not windows or time.perf_counter() < end:
        for what, ask in load.questions(store, seen).items():
            began = time.perf_counter()
            await ask()
            windows.setdefault(what, []).append(time.perf_counter() - began)
    done.set()
    await writing
    status = await store.status()
    return Measured(rates, windows, status.bytes / (status.rows + load.events))


def run(*, rows: int, keys: int, seconds: float, seed: int, address: str | None) -> Measured:
    """Measure the store at ``address``, an empty one; by default SQLite in a folder of its own."""

    async def in_store(where: str) -> Measured:
        store = await open_history(where)
        try:
            return await measure(store, Load(keys, seed), rows, seconds)
        finally:
            await store.close()

    if address is not None:
        return asyncio.run(in_store(address))
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        return asyncio.run(in_store(f"sqlite:{Path(folder) / 'history.db'}"))
