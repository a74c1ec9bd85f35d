"""The player's recording over a history store: it says what a recording in memory says of the same events."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from timeline_workers.errors import Code, HistoryError, UnknownNameError
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
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.metric.model import Source
from timeline_workers.playback.history_recording import HistoryRecording, RecordedMetric
from timeline_workers.playback.items import Missing, NodeOfChannel, Piece, View
from timeline_workers.playback.memory_recording import MemoryRecording
from timeline_workers.playback.reads import (
    CountRead,
    Look,
    NeighbourRead,
    OpenRead,
    ReadFailed,
    SnapshotRead,
    WindowRead,
)
from timeline_workers.playback.recording import Reads
from timeline_workers.playback.requests import EventsChannel, LettersChannel, TimelinesChannel, WhatIfChannel
from timeline_workers.playback.session import Session

from .computed import CIRR, SESSION, Computed, node
from .test_session import Pair

SECOND = 1_000_000
SOURCE = Source(topic="pe", key="s", time="t", time_unit="s")
EVENTS = EventsChannel(channel="ev", events="pe")
NODES = TimelinesChannel(channel="cirr", metric="cirr", nodes="all")
LATE = {"s": "s1", "t": 13, "userAction": "seek"}


class Both(MemoryRecording):
    """A recording in memory that also keeps what is to be appended to a store."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__()
        self.store = store
        self.nodes: tuple[NodeOfChannel, ...] = ()
        self._events: list[tuple[int, Any, Any]] = []
        self._revised: list[tuple[str, Revision]] = []
        self._stamps = itertools.count(1)
        self._places = itertools.count(1)

    def add_event(self, topic: str, time: int, key: Any, payload: Any, position: Any = None) -> None:
        place = Position(0, 0, next(self._places))
        super().add_event(topic, time, key, payload, tuple(place))
        self._events.append((time, key, (place, payload)))

    def add_metric(self, metric: str, nodes: Sequence[NodeOfChannel]) -> None:
        super().add_metric(metric, nodes)
        self.nodes = tuple(nodes)

    def revise(
        self, metric: str, node: str, key: Any, start: int, pieces: Sequence[Piece], *, late: bool = False
    ) -> None:
        super().revise(metric, node, key, start, pieces, late=late)
        numeric = {one.node for one in self.nodes if one.kind == "numeric"}
        exact = [
            (p.time, Fraction(p.value), Fraction(p.slope or 0))
            if node in numeric
            else (p.time, p.value, None)  # type: ignore[arg-type]
            for p in pieces
        ]
        self._revised.append((node, Revision(key, start, exact)))

    async def flush(self, outcome: Outcome = Outcome.ACCEPTED) -> None:
        """Append what was told since."""
        raw = [RawEvent(place, json.dumps(payload).encode()) for _, _, (place, payload) in self._events]
        verdicts = [Verdict(place, outcome, key, time) for time, key, (place, _) in self._events]
        await self.store.append_events("pe", raw, [Judged("d", verdicts, {0: None})])
        for name, revision in self._revised:
            await self.store.append_revisions(Writer(name, name), (next(self._stamps), 0), [revision])
        self._events, self._revised = [], []


class Names:
    """One topic and one metric."""

    def __init__(self, both: Both) -> None:
        self._both = both

    async def definition(self, name: str) -> str:
        if name != "pe":
            raise UnknownNameError(f"no topic {name!r}", code=Code.UNKNOWN_SOURCE)
        return "d"

    async def metric(self, name: str) -> RecordedMetric:
        if name != "cirr":
            raise UnknownNameError(f"no metric {name!r}", code=Code.UNKNOWN_METRIC)
        return RecordedMetric(SOURCE, "d", self._both.nodes)


async def opened(tmp_path: Path) -> tuple[Both, Computed, Reads, Reads]:
    """The worked example in both recordings, less its seek, with its channels open."""
    both = Both(await SqliteStore.open(tmp_path / "history.db"))
    cirr = Computed(both, "cirr", CIRR, "pe")
    cirr.tell(*(event for event in SESSION if "userAction" not in event))
    await both.flush()
    memory, store = Reads(both), Reads(HistoryRecording(both.store, Names(both)))
    opening = OpenRead((EVENTS, NODES), View())
    await memory.do(opening)
    assert not isinstance(await store.do(opening), ReadFailed)
    return both, cirr, memory, store


def plain(answer: Any) -> Any:
    """An answer without what differs by nature: order numbers, and the order of levels."""
    if hasattr(answer, "items") and isinstance(answer.items, tuple):
        items = tuple(
            (name, replace(item, seq=0) if hasattr(item, "seq") else replace(item, slope=item.slope or 0))
            for name, item in answer.items
        )
        return answer.upto, sorted(items, key=repr)
    if hasattr(answer, "channels"):
        return {
            name: (
                found.count,
                sorted((replace(level, slope=level.slope or 0) for level in found.levels), key=repr),
            )
            for name, found in answer.channels.items()
        }
    return answer


BOTH = ("ev", "cirr")


async def test_it_reads_what_memory_reads(tmp_path: Path) -> None:
    both, _, memory, store = await opened(tmp_path)
    reads: list[Any] = []
    for low, high, limit in itertools.product((-1, 0, 9, 10, 22), (10, 22, 50), (1, 3, 1_000)):
        if low < high:
            after, to = low * SECOND, high * SECOND
            reads.append(WindowRead(BOTH, View(), after, max(after, 0), to, limit))
            reads.append(CountRead(BOTH, View(), after, max(after, 0), to))
    for at, back in itertools.product((-5, 0, 10, 11, 45, 99), (False, True)):
        reads += [NeighbourRead((name,), View(), at * SECOND, back) for name in BOTH]
        reads.append(SnapshotRead(("cirr",), View(), at * SECOND, 200))
    for read in reads:
        assert plain(await store.do(read)) == plain(await memory.do(read)), read
    await both.store.close()


async def test_late_events_are_revisions_there_too(tmp_path: Path) -> None:
    both, cirr, memory, store = await opened(tmp_path)
    before = [await one.do(Look(BOTH, View())) for one in (memory, store)]
    cirr.tell(LATE)
    await both.flush()
    looks = [
        await one.do(Look(BOTH, View(), found.seq, 40 * SECOND))  # type: ignore[union-attr]
        for one, found in zip((memory, store), before, strict=True)
    ]
    ours, theirs = looks
    assert theirs.changed_from == ours.changed_from == 13 * SECOND  # type: ignore[union-attr]
    assert [record.time for _, record in theirs.late] == [13 * SECOND]  # type: ignore[union-attr]
    said = [
        {
            (revision.node, piece.time, piece.value)
            for _, revision in look.revisions  # type: ignore[union-attr]
            for piece in revision.pieces
            if piece.time <= 40 * SECOND
        }
        for look in looks
    ]
    # A store says where a timeline changed at most; in memory all from there on is said again.
    assert said[1] <= said[0]
    assert (node(cirr, "has_existed_within"), 13 * SECOND, True) in said[1]
    assert (node(cirr, "duration_where"), 13 * SECOND, 3) in said[1]
    known_then = WindowRead(("cirr",), View(as_of=before[1].seq), 0, 0, 50 * SECOND, 1_000)  # type: ignore[union-attr]
    then = await store.do(known_then)
    now = await store.do(replace(known_then, view=View()))
    assert 13 * SECOND not in {item.due for _, item in then.items}  # type: ignore[union-attr]
    assert 13 * SECOND in {item.due for _, item in now.items}  # type: ignore[union-attr]
    await both.store.close()


async def test_what_is_forgotten_is_a_gap(tmp_path: Path) -> None:
    both, _, _, store = await opened(tmp_path)
    await both.store.append_events("pe", [], gaps=[Gap("pe", 30 * SECOND, 31 * SECOND, "the store was down")])
    reopened = OpenRead((EVENTS,), View())
    await store.do(reopened)
    await both.store.forget(5 * SECOND)
    window = await store.do(WindowRead(("ev",), View(), 0, 0, 50 * SECOND, 100))
    items = [item for _, item in window.items]  # type: ignore[union-attr]
    missing = [item for item in items if isinstance(item, Missing)]
    assert [(one.start, one.end, one.why) for one in missing] == [
        (1, 5 * SECOND, "not kept any more"),
        (30 * SECOND, 31 * SECOND, "the store was down"),
    ]
    assert min(item.due for item in items if item not in missing) == 10 * SECOND
    answer = await store.do(reopened)
    assert answer.channels[0].complete_from == 5 * SECOND  # type: ignore[union-attr]
    await both.store.close()


async def test_letters_say_why(tmp_path: Path) -> None:
    both, cirr, _, store = await opened(tmp_path)
    cirr.tell(LATE)
    await both.flush(Outcome.LATE)
    await store.do(OpenRead((LettersChannel(channel="letters", topic="pe"),), View()))
    window = await store.do(WindowRead(("letters",), View(), 0, 0, 50 * SECOND, 100))
    [(_, letter)] = window.items  # type: ignore[union-attr]
    assert (letter.time, letter.payload["event"]) == (13 * SECOND, LATE)
    await both.store.close()


@pytest.mark.parametrize(
    ("channel", "view", "code"),
    [
        (EventsChannel(channel="x", events="none"), View(), "unknown-metric"),
        (TimelinesChannel(channel="x", metric="none"), View(), "unknown-metric"),
        (WhatIfChannel(channel="x", expression="has_existd(a == 1)", like="cirr"), View(), "bad-expression"),
        (WhatIfChannel(channel="x", expression="has_existed(a == 1)", like="none"), View(), "unknown-metric"),
        (EVENTS, View(axis="system"), "bad-message"),
    ],
)
async def test_what_it_does_not_have_is_refused(tmp_path: Path, channel: Any, view: View, code: str) -> None:
    both, _, _, store = await opened(tmp_path)
    answer = await store.do(OpenRead((channel,), view))
    assert isinstance(answer, ReadFailed)
    assert answer.reason == code
    await both.store.close()


async def test_a_store_that_fails_is_down(tmp_path: Path) -> None:
    both, _, _, _ = await opened(tmp_path)

    class Down(HistoryRecording):
        async def seq(self) -> int:
            raise HistoryError("the disk is full", may_pass=True)

    reads = Reads(Down(both.store, Names(both)))
    await reads.do(OpenRead((EVENTS,), View()))
    answer = await reads.do(WindowRead(("ev",), View(), 0, 0, SECOND, 10))
    assert isinstance(answer, ReadFailed)
    assert answer.reason == "store-down"
    await both.store.close()


async def test_a_session_plays_a_store(tmp_path: Path) -> None:
    """The worked example, twenty times as fast: its levels, its changes, and the value at its end."""
    both, cirr, _, _ = await opened(tmp_path)
    pair = Pair()
    session = asyncio.create_task(Session(pair, HistoryRecording(both.store, Names(both))).run())
    pair.say(action="open", channels=[NODES.model_dump(), EVENTS.model_dump()], id=1)
    await pair.until("opened", reply=1)
    pair.say(action="play", start=12, end=44, speed=200, id=2)
    said = await pair.until("state", status="ended")
    [snapshot] = [message for message in said if message["type"] == "snapshot"]
    duration = node(cirr, "duration_where")
    assert {one["node"]: one["value"] for one in snapshot["channels"]["cirr"]}[duration] == 2
    lines = [
        line
        for message in said
        if message["type"] == "frame" and "cirr" in message["channels"]
        for line in message["channels"]["cirr"]["changes"]
    ]
    assert [line[:1] + line[3:] for line in lines if line[1] == duration] == [[22, 12, 0]]
    pair.to_server.put_nowait(None)
    assert await session is None
    await both.store.close()


async def test_a_what_if_channel_is_what_the_metric_says(tmp_path: Path) -> None:
    """The expression of the metric, as if it had never been applied; and a late event corrects it alike."""
    both, cirr, _, store = await opened(tmp_path)
    like: dict[str, Any] = {"expression": CIRR, "like": "cirr", "nodes": "all", "keys": ["s1"]}
    opening = OpenRead((WhatIfChannel(channel="try", **like),), View(), ("ev", "cirr"))
    answer = await store.do(opening)
    assert len(answer.channels[0].nodes) == 11  # type: ignore[union-attr]

    async def said(name: str) -> tuple[set[Any], set[Any]]:
        window = await store.do(WindowRead((name,), View(), -1, -1, 60 * SECOND, 1_000))
        snapshot = await store.do(SnapshotRead((name,), View(), 15 * SECOND, 200))
        nodes = both.nodes if name == "cirr" else answer.channels[0].nodes  # type: ignore[union-attr]
        texts = {one.node: one.expression for one in nodes}
        changes = {(texts[c.node], c.time, c.value, c.slope) for _, c in window.items}  # type: ignore[union-attr]
        levels = snapshot.channels[name].levels  # type: ignore[union-attr]
        return changes, {(texts[one.node], one.value, one.since, one.until) for one in levels}

    assert await said("try") == await said("cirr")
    before = await store.do(Look(("try",), View()))
    cirr.tell(LATE)
    await both.flush()
    look = await store.do(Look(("try",), View(), before.seq, 40 * SECOND))  # type: ignore[union-attr]
    assert look.changed_from == 13 * SECOND  # type: ignore[union-attr]
    revised = {(revision.node, revision.start) for _, revision in look.revisions}  # type: ignore[union-attr]
    assert len(revised) == 5  # within, not, two times and, duration
    assert {start for _, start in revised} == {13 * SECOND}
    await store.do(Look(("cirr",), View(), before.seq, 40 * SECOND))  # type: ignore[union-attr]
    assert await said("try") == await said("cirr")
    again = await store.do(Look(("try",), View(), look.seq, 40 * SECOND))  # type: ignore[union-attr]
    assert again.revisions == ()  # type: ignore[union-attr]
    await both.store.close()
