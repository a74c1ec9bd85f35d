"""The history as `timeline get` shows it: a store that does not answer, and what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from timeline_workers.history.model import Gap
from timeline_workers.history.open import open_history
from timeline_workers.metric.model import History, Metric, Source
from timeline_workers.plan.physical import plan
from timeline_workers.settings.history_settings import sqlite_address
from workflows.client.conditions import Applied, Look
from workflows.client.conditions.history_look import HistoryLook, check, look_at_history
from workflows.messages import CatalogEntry

METRIC = Metric(name="m", source=Source(topic="clicks", key="id", time="t"), expression="event_count(x > 1)")


def said(history: HistoryLook | None, metric: Metric = METRIC) -> list[str]:
    class OfHistory:
        pass

    look = OfHistory()
    look.history = history  # type: ignore[attr-defined]
    applied = Applied(cast(CatalogEntry, None), plan(metric), ())
    return [str(notice) for notice in check(cast(Look, look), applied)]


async def test_gaps_are_shown_with_their_event_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = sqlite_address(tmp_path / "history.db")
    monkeypatch.setenv("TIMELINE_HISTORY", address)
    assert said(await look_at_history(["clicks"])) == []
    assert not (tmp_path / "history.db").exists()
    store = await open_history(address)
    await store.append_events("clicks", [], gaps=[Gap("clicks", 1_000_000, None, "the broker has forgotten")])
    await store.close()
    found = await look_at_history(["clicks"])
    [notice] = said(found)
    assert notice == (
        "the history of topic clicks has 1 gap, the last with event times from 1970-01-01T00:00:01Z on, "
        "without end: the broker has forgotten"
    )
    assert said(found, METRIC.model_copy(update={"history": History(events=False)})) == []


async def test_a_store_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.db"
    path.write_text("no database, and long enough to be looked at" * 50)
    monkeypatch.setenv("TIMELINE_HISTORY", sqlite_address(path))
    [notice] = said(await look_at_history(["clicks"]))
    assert notice.startswith(f"the history store at {path} does not answer: ")
    monkeypatch.setenv("TIMELINE_HISTORY", "off")
    assert said(await look_at_history(["clicks"])) == []
