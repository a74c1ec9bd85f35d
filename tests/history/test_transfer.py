"""Exported histories: imported, they answer as the store they are of; files by day, in both formats."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from timeline_workers.errors import QuestionError
from timeline_workers.history.day_files import Format, files_of
from timeline_workers.history.model import (
    Gap,
    Judged,
    Outcome,
    Position,
    RawEvent,
    Revision,
    Verdict,
    Writer,
)
from timeline_workers.history.store import HistoryStore
from timeline_workers.history.transfer import export_history, import_history

from .scripts import DEFINITIONS, Clock, Step, appends
from .stores import sqlite

NODES = ["a", "b"]
ALWAYS = -(2**60), 2**60
DAY = 86_400_000_000


async def everything(store: HistoryStore) -> Any:
    """What an export keeps: all but system times."""
    events = [
        (
            name,
            *(getattr(e, field) for field in ("position", "payload", "published", "key", "time")),
            e.outcome,
        )
        for name in DEFINITIONS
        for e in await store.events(name, *ALWAYS, outcomes=frozenset(Outcome))
    ]
    pieces = [
        (p.node, repr(p.key), p.start, p.until, repr(p.value), p.slope)
        for p in await store.pieces(NODES, *ALWAYS)
    ]
    gaps = [(gap.of, gap.since, gap.until, gap.why) for gap in (await store.status()).gaps]
    return events, pieces, sorted(map(repr, gaps))


def moved(script: Callable[[HistoryStore, HistoryStore, Path], Awaitable[None]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="export-") as folder:
            async with sqlite(Clock([1])) as one, sqlite(Clock([1])) as other:
                await script(one, other, Path(folder) / "out")

    asyncio.run(run())


@settings(max_examples=25, deadline=None)
@given(appends, st.sampled_from(["jsonl", "parquet"]))
def test_an_import_answers_as_what_was_exported(script: list[Step], format: Format) -> None:
    async def there_and_back(one: HistoryStore, other: HistoryStore, folder: Path) -> None:
        for append in script:
            try:
                await append.call(one)
            except QuestionError:
                continue
        async for _ in export_history(one, folder, format=format):
            pass
        async for _ in import_history(other, folder):
            pass
        assert await everything(other) == await everything(one)
        marks = [{n.node: n.watermark for n in (await s.status()).nodes if n.keys} for s in (one, other)]
        assert marks[0] == marks[1]
        async for _ in import_history(other, folder, pieces=False):
            pass  # again
        assert await everything(other) == await everything(one)

    moved(there_and_back)


async def fill(store: HistoryStore) -> None:
    """Two days: an event and a change on each, the second event's payload no UTF-8."""
    events = [RawEvent(Position(0, 0, n), payload) for n, payload in enumerate([b'{"a": 1}', b"\xff"])]
    verdicts = [
        Verdict(event.position, Outcome.ACCEPTED, "s1", n * DAY + 5) for n, event in enumerate(events)
    ]
    gap = Gap("clicks", None, 7, "the broker was away")
    await store.append_events("clicks", events, [Judged("clicks-1", verdicts)], [gap])
    changes = Revision("s1", 0, [(0, True, None), (DAY, None, None)])
    await store.append_revisions(Writer("a.p0", "a"), (1, 0), [changes], watermark=3)


def test_files_are_by_day_and_their_rows_plain() -> None:
    async def look(one: HistoryStore, other: HistoryStore, folder: Path) -> None:
        await fill(one)
        async for _ in export_history(one, folder, format="jsonl"):
            pass
        names = [str(path.relative_to(folder)) for path in files_of(folder / "events")]
        assert names == [f"events/day=1970-01-0{day}/clicks-1.jsonl" for day in (1, 2)]
        rows = [json.loads(path.read_text()) for path in files_of(folder / "events")]
        assert [row.get("payload", row.get("payload_base64")) for row in rows] == ['{"a": 1}', "/w=="]
        [piece, _] = [json.loads(path.read_text()) for path in files_of(folder / "pieces")]
        assert (piece["key"], piece["start"], piece["until"], piece["value"]) == ('"s1"', 0, DAY, "true")
        with pytest.raises(QuestionError, match="is not empty; name a folder"):
            async for _ in export_history(one, folder):
                pass
        await fill(other)
        with pytest.raises(QuestionError, match="has timelines of node 'a' already"):
            async for _ in import_history(other, folder):
                pass

    moved(look)


def test_a_window_has_what_holds_where_it_begins() -> None:
    async def look(one: HistoryStore, other: HistoryStore, folder: Path) -> None:
        await fill(one)
        async for _ in export_history(one, folder, format="jsonl", start=10, end=DAY + 1):
            pass
        assert files_of(folder / "events") == []
        assert len(files_of(folder / "pieces")) == 2
        (folder / "history.json").write_text("{}", encoding="utf-8")
        with pytest.raises(
            QuestionError, match=r"is no exported history: .*; name a folder that `timeline history"
        ):
            async for _ in import_history(other, folder):
                pass

    moved(look)
