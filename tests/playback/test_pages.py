"""Pages: windows are parts of what was read at once; and what is stored meanwhile is not lost by that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, strategies as st

from timeline_workers.history.model import Judged, Outcome, Position, RawEvent, Verdict
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.metric.model import Source
from timeline_workers.playback.history_recording import HistoryRecording, RecordedMetric
from timeline_workers.playback.items import View
from timeline_workers.playback.pages import Page
from timeline_workers.playback.reads import Look, LookAnswer, OpenRead, Window, WindowRead
from timeline_workers.playback.recording import Reads
from timeline_workers.playback.requests import EventsChannel

SECOND = 1_000_000


@given(
    dues=st.lists(st.integers(0, 12), max_size=12).map(sorted),
    start=st.integers(0, 12),
    to=st.integers(0, 14),
    limit=st.integers(1, 5),
)
def test_a_part_has_whole_instants(dues: list[int], start: int, to: int, limit: int) -> None:
    """All rows from the start up to where it ends; as many as fit, or those of one instant."""
    page = Page(0, 13, dues, list(enumerate(dues)))
    upto, rows = page.part(start, to, limit)
    assert upto <= min(to, 12)
    assert rows == [row for row in page.rows if start <= row[1] <= upto]
    left = [due for due in dues if upto < due <= min(to, 12)]
    if len(rows) > limit:
        assert len({due for _, due in rows}) == 1
    if left and start <= min(to, 12):
        more = [due for due in dues if start <= due <= left[0]]
        assert len(more) > limit
    elif start <= to and len(rows) <= limit:
        assert upto == min(to, 12)
    assert page.fills(start, to, limit) is (
        start <= 12 and (to <= 12 or sum(due >= start for due in dues) > limit)
    )


class Names:
    """One topic, and no metric."""

    async def definition(self, name: str) -> str:
        return "d"

    async def metric(self, name: str) -> RecordedMetric:
        return RecordedMetric(Source(topic="pe", key="k", time="t"), "d", ())


class Stored:
    """Events in a store, and reads of them."""

    def __init__(self, store: SqliteStore) -> None:
        self.store, self.places = store, 0
        self.reads = Reads(HistoryRecording(store, Names()))

    async def tell(self, *times: float) -> None:
        raw, verdicts = [], []
        for time in times:
            self.places += 1
            place = Position(0, 0, self.places)
            raw.append(RawEvent(place, json.dumps({"t": time}).encode()))
            verdicts.append(Verdict(place, Outcome.ACCEPTED, "k", round(time * SECOND)))
        await self.store.append_events("pe", raw, [Judged("d", verdicts, {0: None})])

    async def window(self, after: float, to: float, limit: int) -> tuple[Window, list[float]]:
        low, high = round(after * SECOND), round(to * SECOND)
        found: Any = await self.reads.do(WindowRead(("ev",), View(), low, low, high, limit))
        assert isinstance(found, Window)
        return found, [item.due / SECOND for _, item in found.items]

    async def look(self, since: int, upto: float) -> LookAnswer:
        found = await self.reads.do(Look(("ev",), View(), since, round(upto * SECOND)))
        assert isinstance(found, LookAnswer)
        return found


async def stored(path: Path) -> Stored:
    """Twenty events, one a second, and a channel of them."""
    found = Stored(await SqliteStore.open(path / "history.db"))
    await found.tell(*range(20))
    await found.reads.do(OpenRead((EventsChannel(channel="ev", events="pe"),), View()))
    return found


async def test_a_window_is_as_of_its_page(tmp_path: Path) -> None:
    one = await stored(tmp_path)
    first, times = await one.window(-1, 15, 3)
    assert times == [0, 1, 2]
    await one.tell(5.5)
    second, times = await one.window(2, 15, 5)
    assert times == [3, 4, 5, 6, 7]
    assert second.seq == first.seq  # so the next look tells of what it lacks
    look = await one.look(first.seq, 7)
    assert [record.due for _, record in look.late] == [round(5.5 * SECOND)]
    await one.store.close()


async def test_nothing_stored_in_a_page_later_is_lost(tmp_path: Path) -> None:
    """A look is told of it, or the page is read again; one that holds nothing new goes on."""
    one = await stored(tmp_path)
    first, _ = await one.window(-1, 15, 3)
    await one.tell(12.5)
    look = await one.look(first.seq, 4)  # as of which the events up to 4 are known now
    assert look.late == ()
    again, times = await one.window(2, 15, 100)
    assert times == [*range(3, 13), 12.5, 13, 14, 15]
    assert again.seq == look.seq
    await one.tell(19.5)  # behind the page
    later = await one.look(look.seq, 4)
    kept, times = await one.window(4, 15, 2)
    assert (kept.seq, times) == (later.seq, [5, 6])
    await one.store.close()


async def test_a_look_at_an_unchanged_store_tells_nothing(tmp_path: Path) -> None:
    one = await stored(tmp_path)
    first, _ = await one.window(-1, 30, 100)
    look = await one.look(first.seq, 30)
    assert (look.seq, look.changed_from, look.late) == (first.seq, None, ())
    await one.store.close()
