"""Event tables in the player: their rows, what is stored while it plays, and what is computed from them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from timeline_workers import evaluate
from timeline_workers.event_tables.declaration import tables_of
from timeline_workers.event_tables.open_table import OpenTables
from timeline_workers.playback.items import Change, Record, View
from timeline_workers.playback.reads import CountRead, Look, NeighbourRead, OpenRead, ReadFailed, WindowRead
from timeline_workers.playback.recording import Reads
from timeline_workers.playback.requests import EventsChannel, WhatIfChannel
from timeline_workers.playback.session import Session
from timeline_workers.playback.tables_recording import TablesRecording

from .computed import CIRR, SESSION
from .test_session import Pair
from .virtual import ten

pytest.importorskip("duckdb", reason="duckdb is not here: pip install -e '.[dev]'")

SECOND = 1_000_000
EVENTS = EventsChannel(channel="ev", events="plays")
DURATION = WhatIfChannel(channel="try", expression=CIRR, like="plays", keys=["s1"])


class Plays:
    """A file of the worked example, open as the table ``plays`` beside TEN."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "plays.jsonl"
        self.path.write_text("")
        self.tell(*SESSION)
        said = {"address": "jsonl:plays.jsonl", "time": "t", "key": "s", "look": 0, "settle": "40s"}
        self.tables = OpenTables(tables_of({"tables": {"plays": said}}, folder=folder))
        self.recording = TablesRecording(self.tables, ten())
        self.reads = Reads(self.recording)

    def tell(self, *events: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)

    async def window(self, *channels: str, upto: int = 100 * SECOND) -> Any:
        return await self.reads.do(WindowRead(channels, View(), -1, -1, upto, 1000))


@pytest_asyncio.fixture
async def plays(tmp_path: Path) -> AsyncIterator[Plays]:
    one = Plays(tmp_path)
    yield one
    await one.tables.close()


async def test_rows_of_a_table_are_a_channel(plays: Plays) -> None:
    await plays.reads.do(OpenRead((EVENTS, EventsChannel(channel="ten", events="ten")), View()))
    found = await plays.window("ev", "ten")
    assert [item.payload for name, item in found.items if name == "ev"] == SESSION
    assert sum(name == "ten" for name, _ in found.items) == 10
    both = ("ev", "ten")
    assert (await plays.reads.do(CountRead(both, View(), -1, -1, 9 * SECOND))).items == 10 + 3  # type: ignore[union-attr]
    assert (await plays.reads.do(NeighbourRead(both, View(), 9 * SECOND))).due == 10 * SECOND  # type: ignore[union-attr]
    look: Any = await plays.reads.do(Look(both, View()))
    assert (look.start, look.live) == (0, 45 * SECOND)


async def test_new_rows_of_the_end_are_told_once(plays: Plays) -> None:
    """One behind the newest, and one that is like another in everything."""
    await plays.reads.do(OpenRead((EVENTS,), View()))
    before = await plays.window("ev")
    plays.tell({"s": "s1", "t": 30, "userAction": "seek"}, SESSION[-1], {"s": "s1", "t": 60, "x": 1})
    told: list[Record] = []
    seq = before.seq
    for _ in range(3):
        look: Any = await plays.reads.do(Look(("ev",), View(), seq, 50 * SECOND))
        told += [record for _, record in look.late]
        assert all(record.seq > before.seq for _, record in look.late)
        seq = look.seq
    assert [record.time // SECOND for record in told] == [30, 45]
    assert (look.live, look.changed_from) == (60 * SECOND, None)


async def test_rows_that_a_window_has_given_are_no_news(plays: Plays) -> None:
    await plays.reads.do(OpenRead((EVENTS,), View()))
    plays.tell({"s": "s1", "t": 44, "x": 1})
    seq = (await plays.window("ev")).seq
    look: Any = await plays.reads.do(Look(("ev",), View(), seq, 50 * SECOND))
    assert (look.late, look.seq) == ((), seq)


async def test_expression_over_a_table_is_computed(plays: Plays) -> None:
    """As evaluation over the same events says; a late row is a revision."""
    await plays.reads.do(OpenRead((DURATION,), View()))

    async def lane() -> list[tuple[int, Any, Any]]:
        found = await plays.window("try")
        return [(c.time, c.value, c.slope) for _, c in found.items if isinstance(c, Change)]

    def expected(events: list[dict[str, Any]]) -> list[tuple[int, Any, Any]]:
        spans = evaluate(CIRR, events, key="s", time="t").spans("s1", -100, 1000).spans
        return [(round(one.start * SECOND), one.value, one.slope) for one in spans]  # type: ignore[operator]

    assert await lane() == expected(SESSION)
    late = {"s": "s1", "t": 41, "playerStateChange": "play"}
    seq = (await plays.window("try")).seq
    plays.tell(late)
    look: Any = await plays.reads.do(Look(("try",), View(), seq, 50 * SECOND))
    assert await lane() == expected([*SESSION, late])
    assert [(name, one.key) for name, one in look.revisions] == (
        [] if await lane() == expected(SESSION) else [("try", "s1")]
    )


async def test_what_no_table_says_is_refused(plays: Plays) -> None:
    for view, field in (
        (View(as_of=5), "as_of"),
        (View(axis="system"), "axis"),
        (View(edge="final"), "edge"),
    ):
        answer = await plays.reads.do(OpenRead((EVENTS,), view))
        assert isinstance(answer, ReadFailed)
        assert (answer.reason, answer.field) == ("bad-message", field)


async def test_unknown_tables_and_expressions_are_answers(plays: Plays) -> None:
    alone = Reads(TablesRecording(plays.tables))
    for channel, reason in (
        (EventsChannel(channel="ev", events="play"), "unknown-metric"),
        (DURATION.model_copy(update={"like": "play"}), "unknown-metric"),
        (DURATION.model_copy(update={"expression": "latest("}), "bad-expression"),
        (DURATION.model_copy(update={"expression": "sum(exists(x))"}), "bad-expression"),
    ):
        answer = await alone.do(OpenRead((channel,), View()))
        assert isinstance(answer, ReadFailed)
        assert answer.reason == reason


async def test_mistakes_in_a_file_are_told(plays: Plays) -> None:
    """The value, the rule and the fix, as an answer: the session goes on."""
    plays.tell({"s": "s1", "t": "noon"})
    answer = await plays.reads.do(OpenRead((EVENTS,), View()))
    assert isinstance(answer, ReadFailed)
    assert answer.reason == "store-down"
    assert "t is a text in line 11 (noon), and a number in line 1; write all times alike" in answer.message


async def test_live_edge_of_a_table_goes_on(plays: Plays) -> None:
    pair = Pair()
    session = asyncio.create_task(Session(pair, plays.recording).run())
    pair.say(action="open", channels=[{"channel": "ev", "events": "plays"}])
    pair.say(action="play", start=44)
    await pair.until("state", status="live")
    plays.tell({"s": "s1", "t": 45, "x": "same instant"}, {"s": "s1", "t": 45.5, "x": "later"})
    said: list[Any] = []
    while not {"same instant", "later"} <= set(said):
        message = json.loads(await pair.to_client.get())
        shown = [*message.get("records", ()), *message.get("channels", {}).get("ev", {}).get("records", ())]
        said += [record[2].get("x") for record in shown]
    assert said == ["same instant", "later"] or said == ["later", "same instant"]
    pair.gone = True
    pair.to_server.put_nowait(None)
    await session
