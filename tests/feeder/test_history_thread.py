"""The thread of a history store, and the settings that the feeder's tees are made of."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from feeder.source.memory import MemorySource, MemoryTopic
from feeder.storing.history_tee import HistoryTee
from feeder.storing.history_thread import HistoryThread
from feeder.storing.open_tees import open_tees
from feeder.storing.tee import NoTee
from timeline_workers.errors import HistoryError, SettingsError
from timeline_workers.history.model import Status
from timeline_workers.history.store import HistoryStore
from timeline_workers.settings.history_settings import sqlite_address


async def elsewhere(store: HistoryStore) -> Status:
    assert threading.current_thread().name == "history"
    return await store.status()


async def test_a_store_that_cannot_open_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("in the way")
    thread = HistoryThread(sqlite_address(folder / "history.db"))
    with pytest.raises(HistoryError, match="cannot be made"):
        await thread.call(elsewhere)
    folder.unlink()
    assert (await thread.call(elsewhere)).events == {}
    await thread.close()


async def test_a_store_that_failed_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    thread = HistoryThread(sqlite_address(path))
    opened: list[HistoryStore] = []

    async def fail(store: HistoryStore) -> None:
        opened.append(store)
        raise HistoryError("gone", may_pass=True)

    for _ in range(2):
        with pytest.raises(HistoryError, match="gone"):
            await thread.call(fail)
    assert opened[0] is not opened[1]
    await thread.close()


async def test_tees_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = MemorySource(MemoryTopic("clicks"), "feeders")

    async def run(*_: object) -> None: ...

    monkeypatch.setenv("TIMELINE_HISTORY", "off")
    tees = await open_tees()
    assert isinstance(tees.tee(source, run, at_once=1, begin=None), NoTee)
    assert tees.shown == "off"
    await tees.close()
    monkeypatch.setenv("TIMELINE_HISTORY", sqlite_address(tmp_path / "history.db"))
    tees = await open_tees()
    tee = tees.tee(source, run, at_once=1, begin=None)
    assert isinstance(tee, HistoryTee)
    assert tees.shown == str(tmp_path / "history.db")
    await tee.close()
    await tees.close()
    monkeypatch.setenv("TIMELINE_HISTORY", "elsewhere")
    with pytest.raises(SettingsError, match="TIMELINE_HISTORY"):
        await open_tees()
