"""Sessions: the player over a socket in asyncio; nothing of it is left when the client is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from timeline_workers.errors import Code, TimelineError
from timeline_workers.playback.codes import CloseCode
from timeline_workers.playback.items import View
from timeline_workers.playback.memory_recording import MemoryRecording
from timeline_workers.playback.plain import Plain
from timeline_workers.playback.reads import Look, LookAnswer, ReadFailed
from timeline_workers.playback.recording import ChannelReader, Reads
from timeline_workers.playback.session import Session

from .virtual import ten

EVENTS = {"channel": "ev", "events": "ten"}


class Pair:
    """A socket of which the test is the client."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.to_client: asyncio.Queue[str] = asyncio.Queue()
        self.gone = False

    async def receive(self) -> str | bytes:
        text = await self.to_server.get()
        if text is None:
            raise ConnectionError("the client is gone")
        return text

    async def send(self, text: str) -> None:
        if self.gone:
            raise ConnectionError("the client is gone")
        self.to_client.put_nowait(text)

    def say(self, **fields: Any) -> None:
        self.to_server.put_nowait(json.dumps(fields))

    async def until(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """All messages up to the first of a kind with these fields."""
        found: list[dict[str, Any]] = []
        while True:
            found.append(json.loads(await self.to_client.get()))
            last = found[-1]
            if last.get("type") == kind and all(last.get(name) == value for name, value in fields.items()):
                return found


class Hanging(MemoryRecording):
    """A recording whose looks never come back; it knows how many are under way."""

    under_way = 0

    async def look(
        self, readers: Sequence[ChannelReader], view: View, since: int | None, upto: int | None
    ) -> LookAnswer:
        Hanging.under_way += 1
        try:
            await asyncio.Event().wait()
        finally:
            Hanging.under_way -= 1
        raise AssertionError


async def test_a_window_is_played_to_its_end() -> None:
    pair = Pair()
    session = asyncio.create_task(Session(pair, ten(), version="1").run())
    [hello] = await pair.until("hello")
    assert (hello["range"], hello["version"]) == ({"start": 0, "live": 9, "final": None}, "1")
    pair.say(action="open", channels=[EVENTS], id=1)
    await pair.until("opened", reply=1)
    pair.say(action="play", start=0, end=9, speed=200, id=2)
    said = await pair.until("state", status="ended")
    numbers = [
        record[2]["n"] for m in said if m["type"] == "frame" for record in m["channels"]["ev"]["records"]
    ]
    assert numbers == list(range(10))
    pair.to_server.put_nowait(None)
    assert await session is None


@pytest.mark.parametrize("text", ["{", b"{}"])
async def test_what_is_no_json_text_ends_the_session(text: str | bytes) -> None:
    pair = Pair()
    session = asyncio.create_task(Session(pair, ten()).run())
    pair.to_server.put_nowait(text)
    assert await session is CloseCode.NOT_JSON


async def test_a_vanished_client_leaves_nothing_behind() -> None:
    """Reads under way are cancelled, and no task is left."""
    before = asyncio.all_tasks()
    pair = Pair()
    session = asyncio.create_task(Session(pair, Hanging()).run())
    while Hanging.under_way == 0:
        await asyncio.sleep(0)
    pair.to_server.put_nowait(None)
    assert await session is None
    assert Hanging.under_way == 0
    assert asyncio.all_tasks() == before


async def test_a_client_that_takes_nothing_ends_it() -> None:
    pair = Pair()
    pair.gone = True
    assert await Session(pair, ten()).run() is None


async def test_a_cancelled_session_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    session = asyncio.create_task(Session(Pair(), Hanging()).run())
    while Hanging.under_way == 0:
        await asyncio.sleep(0)
    session.cancel()
    with pytest.raises(asyncio.CancelledError):
        await session
    assert Hanging.under_way == 0
    assert asyncio.all_tasks() == before


async def test_a_fault_of_a_recording_is_not_lost() -> None:
    class Broken(MemoryRecording):
        async def look(self, *_: Any) -> LookAnswer:
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        await Session(Pair(), Broken()).run()


async def test_a_plain_socket_plays_plain_events() -> None:
    """More frames than may be unacknowledged, and the client acknowledges none."""
    recording = MemoryRecording()
    for i in range(100):
        recording.add_event("ten", i * 1_000_000, "k", {"n": i})
    pair = Pair()
    session = asyncio.create_task(Session(pair, recording, plain=Plain("ten")).run())
    pair.say(command="seek", to=3)
    [error] = await pair.until("ERROR")
    assert "play or stop" in error["text"]
    pair.say(command="PLAY", start=0, end=99, speed=80, loop="False")
    said = await pair.until("END_NOLOOP")
    assert said[0]["type"] == "PLAY"
    assert [event["n"] for event in said[1:-1]] == list(range(100))
    assert said[-2]["__event_date"] == "1970-01-01T00:01:39Z"
    pair.to_server.put_nowait(None)
    assert await session is None


@pytest.mark.parametrize("side", ["receive", "send"])
async def test_a_fault_of_a_socket_is_not_lost(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError("a fault")

    pair = Pair()
    monkeypatch.setattr(pair, side, broken)
    async with asyncio.timeout(60):  # else it would wait for ever
        with pytest.raises(RuntimeError, match="a fault"):
            await Session(pair, ten()).run()


@pytest.mark.parametrize("code", Code)
async def test_every_error_of_the_library_is_answered(code: Code) -> None:
    class Refusing(MemoryRecording):
        async def look(self, *_: Any) -> LookAnswer:
            raise TimelineError("it is so", code=code)

    answer = await Reads(Refusing()).do(Look((), View()))
    assert isinstance(answer, ReadFailed)
    assert answer.message == "it is so"
