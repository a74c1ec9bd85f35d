"""The history as `timeline get` shows it: a store that does not answer, and what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from timeline_workers.history.model import Followed, Gap, Judged, definition_of
from timeline_workers.history.open import open_history
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.metric.model import History, Metric, Source
from timeline_workers.plan.physical import plan
from timeline_workers.plan.reading import reading_of
from timeline_workers.settings.history_settings import sqlite_address
from workflows.client.conditions import Applied, Look
from workflows.client.conditions.history_look import HistoryLook, check, look_at_history
from workflows.client.worker_health import Health
from workflows.messages import CatalogEntry
from workflows.worker_status import PartitionStatus, StateStatus, WorkerStatus

METRIC = Metric(name="m", source=Source(topic="clicks", key="id", time="t"), expression="event_count(x > 1)")


def said(
    history: HistoryLook | None,
    metric: Metric = METRIC,
    workers: tuple[Health, ...] = (),
    now: float = 100.0,
) -> list[str]:
    class OfHistory:
        pass

    look = OfHistory()
    look.history, look.now = history, now  # type: ignore[attr-defined]
    applied = Applied(cast(CatalogEntry, None), plan(metric), workers)
    return [str(notice) for notice in check(cast(Look, look), applied)]


async def test_gaps_are_shown_with_their_event_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = sqlite_address(tmp_path / "history.db")
    monkeypatch.setenv("TIMELINE_HISTORY", address)
    assert said(await look_at_history([METRIC])) == []
    assert not (tmp_path / "history.db").exists()
    store = await open_history(address)
    await store.append_events("clicks", [], gaps=[Gap("clicks", 1_000_000, None, "the broker has forgotten")])
    await store.close()
    found = await look_at_history([METRIC])
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
    [notice] = said(await look_at_history([METRIC]))
    assert notice.startswith(f"the history store at {path} does not answer: ")
    monkeypatch.setenv("TIMELINE_HISTORY", "off")
    assert said(await look_at_history([METRIC])) == []


@pytest.mark.parametrize(
    ("minor", "watermark", "now", "expected"),
    [
        (7, 40, 500.0, ""),  # all is stored, though nothing was for long
        (9, 41, 105.0, ""),  # fed just now
        (9, 41, 200.0, "1 partition, by 1 s of event time: "),
        (9, 140, 105.0, "1 partition, by 100 s of event time: "),
    ],
)
async def test_an_outage_is_shown_while_it_lasts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    minor: int,
    watermark: int,
    now: float,
    expected: str,
) -> None:
    """What was fed and is not stored is told, unless something was stored just now and little is lacking."""
    address = sqlite_address(tmp_path / "history.db")
    monkeypatch.setenv("TIMELINE_HISTORY", address)
    store = await SqliteStore.open(tmp_path / "history.db", now=lambda: 100_000_000)
    told = Judged(definition_of(reading_of(METRIC)), [], {}, {0: Followed(1, 7, 40_000_000)})
    await store.append_events("clicks", [], [told])
    await store.close()
    at = PartitionStatus(partition=0, major=1, minor=minor, watermark=watermark * 1_000_000)
    status = WorkerStatus.model_construct(state=StateStatus(progress=(at,)))
    fed = Health.model_construct(worker_id="leaf.p0", state="ok", status=status)
    notices = said(await look_at_history([METRIC]), workers=(fed,), now=now)
    assert len(notices) == bool(expected)
    assert all(f"the history of topic clicks is behind in {expected}" in one for one in notices)
    assert all("something was stored last 1970-01-01T00:01:40Z" in one for one in notices)
