"""Kills of processes that write: what was confirmed is there, and nothing is there twice."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from timeline_workers.history.model import Outcome
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore
from timeline_workers.settings.history_settings import sqlite_address

from .appending import MANY, append, events_of, revisions_of

TOP = Path(__file__).parents[2]
BACK = 3  # batches that come again after a kill


async def killed_after(lines: int, kind: str, first: int, address: str) -> int:
    """Kill a process after so many confirmations; the last batch that it confirmed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.history.appending", kind, str(first), address),
        stdout=asyncio.subprocess.PIPE,
        cwd=TOP,
    )
    assert process.stdout is not None
    confirmed = first
    for _ in range(lines):
        confirmed = int(await process.stdout.readline())
    process.kill()
    rest = (await process.stdout.read()).split()
    await process.wait()
    return int(rest[-1]) if rest else confirmed


async def check_events(store: HistoryStore, confirmed: int) -> None:
    found = await store.events("clicks-1", 0, 2**60)
    batches, rest = divmod(len(found), MANY)
    assert rest == 0  # whole batches
    assert batches > confirmed
    expected = [raw for batch in range(batches) for raw in events_of(batch)[0]]
    assert [(e.position, e.payload, e.outcome) for e in found] == [
        (raw.position, raw.payload, Outcome.ACCEPTED) for raw in expected
    ]
    status = await store.status()
    assert status.events == {"clicks": len(expected)}
    assert status.definitions[0].outcomes == {Outcome.ACCEPTED: len(expected)}


async def check_revisions(store: HistoryStore, confirmed: int) -> None:
    found = await store.pieces(["duration"], 0, 2**60)
    batches = (len(found) - 1) // 2
    assert batches > confirmed
    now = [piece for batch in range(batches) for piece in revisions_of(batch)[1][0].pieces[:2]]
    assert [(p.start, p.value) for p in found[:-1]] == [(start, value) for start, value, _ in now]
    assert found[-1].value == "gone"
    assert (await store.status()).rows == 3 * batches  # each, and what it took back, once


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where there is an empty store."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'history.db'}"
    return str(request.getfixturevalue("postgres_address"))


async def test_what_was_confirmed_is_stored_once(address: str) -> None:
    """Two processes append to one store and are killed again and again, at any moment."""
    confirmed = {"events": 0, "revisions": 0}
    for lines in (1, 7, 2, 20):
        last = await asyncio.gather(
            *(
                killed_after(BACK + lines, kind, max(first - BACK, 0), address)
                for kind, first in confirmed.items()
            )
        )
        confirmed = dict(zip(confirmed, last, strict=True))
        store = await open_history(address)
        try:
            await check_events(store, confirmed["events"])
            await check_revisions(store, confirmed["revisions"])
        finally:
            await store.close()


async def test_two_stores_of_one_file_see_each_other(tmp_path: Path) -> None:
    one, other = [await open_history(sqlite_address(tmp_path / "history.db")) for _ in range(2)]
    try:
        for batch in range(6):
            await append((one, other)[batch % 2], "events", batch)
            await append((other, one)[batch % 2], "revisions", batch)
            seen = [(await store.status()).seen for store in (one, other)]
            assert seen[0] == seen[1]
        await check_events(one, 5)
        await check_revisions(other, 5)
    finally:
        await one.close()
        await other.close()
