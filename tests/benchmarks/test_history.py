"""The history benchmark does what it says, on few rows. Nothing here is timed."""

from __future__ import annotations

from pathlib import Path

from benchmarks import history
from timeline_workers.history.open import open_history
from timeline_workers.settings.history_settings import sqlite_address


async def test_load_is_stored_as_it_says(tmp_path: Path) -> None:
    store = await open_history(sqlite_address(tmp_path / "history.db"))
    load = history.Load(keys=20, seed=3)
    try:
        measured = await history.measure(store, load, rows=2_000, seconds=0.1)
        status = await store.status()
        assert status.events == {"events": load.events}
        assert sum(node.keys for node in status.nodes) == 20 * len(status.nodes)
        assert set(measured.windows) == set(load.questions(store, 0))
        assert len(await store.events("events-1", 0, 2**60)) == load.events
    finally:
        await store.close()
