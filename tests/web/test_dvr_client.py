"""The clients of the player on a real uvicorn: every record once, whatever happens to the socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import pytest

pytest.importorskip("uvicorn")
from tests.playback.virtual import ten
from timeline_workers.errors import ConnectionFailedError, SettingsError
from timeline_workers.playback import DvrClient, EventsChannel, SyncDvrClient, TimelinesChannel
from timeline_workers.playback.client_state import ClientState
from timeline_workers.playback.codes import DvrCode, RefusedRequest
from timeline_workers.playback.dvr_client import socket_address
from timeline_workers.playback.playhead import Settings
from timeline_workers.playback.replies import AnyMessage, Frame, Looped, RecordsPart, State
from timeline_workers.playback.requests import AnyRequest
from timeline_workers.web.access import Access
from timeline_workers.web.dvr import application
from timeline_workers.web.server import address_of, bind, server

EVENTS = EventsChannel(channel="ev", events="ten")
SMALL = Settings(unacknowledged=2)


@asynccontextmanager
async def running(port: int = 0, access: Access | None = None) -> AsyncIterator[str]:
    """A server of the ten events on a port, and its address."""
    with bind("127.0.0.1", port) as listening:
        runs = server(application(ten(), access or Access(), settings=SMALL))
        task = asyncio.create_task(runs.serve([listening]))
        try:
            yield address_of(listening)
        finally:
            runs.should_exit = True
            await task


def shown(message: AnyMessage) -> list[int]:
    """The numbers of the events in a message."""
    if not isinstance(message, Frame):
        return []
    parts = (part for part in message.channels.values() if isinstance(part, RecordsPart))
    return [record[2]["n"] for part in parts for record in part.records]


async def test_a_window_is_played_and_acknowledged() -> None:
    """More frames than may be unacknowledged; the speed is what comes within the window."""
    async with running() as address, DvrClient(address) as player:
        opened = await player.open(EVENTS)
        assert [one.channel for one in opened.channels] == ["ev"]
        await player.play(0, 9, speed=100)
        messages = [message async for message in player.window()]
        assert [n for message in messages for n in shown(message)] == list(range(10))
        assert isinstance(messages[-1], State)
        assert messages[-1].status == "ended"
        assert (await player.at(4)).at == 4


async def test_a_refusal_changes_nothing() -> None:
    async with running() as address, DvrClient(address) as player:
        with pytest.raises(RefusedRequest) as refused:
            await player.open(TimelinesChannel(channel="ev", metric="none"))
        assert refused.value.reason is DvrCode.UNKNOWN_METRIC
        with pytest.raises(RefusedRequest) as refused:
            await player.pause()
        assert refused.value.reason is DvrCode.NOT_PLAYING
        await player.open(EVENTS)
        await player.play(3, 4, speed=1_000)
        assert [n async for message in player.window() for n in shown(message)] == [3, 4]


async def test_a_jump_leaves_nothing_older_behind() -> None:
    async with running() as address, DvrClient(address) as player:
        await player.open(EVENTS)
        await player.play(0, 9, speed=10)
        async for message in player:
            if shown(message):
                break
        await player.seek(7)
        rest = [message async for message in player.window()]
        assert [n for message in rest for n in shown(message)] == [7, 8, 9]


async def test_a_lost_socket_loses_and_repeats_nothing() -> None:
    seen: list[int] = []
    epochs: list[int] = []
    async with running() as address, DvrClient(address) as player:
        await player.open(EVENTS)
        await player.play(0, 9, speed=20)
        async for message in player.window():
            seen += shown(message)
            epochs.append(getattr(message, "epoch", epochs[-1] if epochs else 0))
            if 3 in shown(message):
                player._socket.transport.abort()
        assert player.sockets == 2
    assert seen == list(range(10))
    assert epochs == sorted(epochs)


async def test_another_server_on_the_port_plays_on() -> None:
    seen: list[int] = []
    async with AsyncExitStack() as stack:
        async with running() as address:
            player = await stack.enter_async_context(DvrClient(address))
            await player.open(EVENTS)
            await player.play(0, 9, speed=20)
            async for message in player.window():
                seen += shown(message)
                if 3 in shown(message):
                    break
        async with running(int(address.rpartition(":")[2])):
            async for message in player.window():
                seen += shown(message)
    assert seen == list(range(10))


async def test_a_loop_goes_on_after_a_lost_socket() -> None:
    async with running() as address, DvrClient(address) as player:
        await player.open(EVENTS)
        await player.play(2, 5, speed=20, loop=True)
        seen: list[int] = []
        loops = 0
        async for message in player:
            seen += shown(message)
            if 3 in shown(message) and player.sockets == 1:
                player._socket.transport.abort()
            loops += isinstance(message, Looped)
            if loops == 2:
                break
        assert seen == [2, 3, 4, 5] * 2


async def test_a_pause_outlives_the_socket() -> None:
    async with running() as address, DvrClient(address) as player:
        await player.open(EVENTS)
        await player.play(0, 9, speed=20)
        seen: list[int] = []
        async for message in player.window():
            seen += shown(message)
            if 3 in shown(message):
                await player.pause()
                player._socket.transport.abort()
                while player.sockets == 1:
                    await asyncio.sleep(0)
                await player.resume()
        assert seen == list(range(10))


async def test_a_server_that_wants_a_token() -> None:
    async with running(access=Access(token="secret")) as address:
        with pytest.raises(ConnectionFailedError, match="token"):
            async with DvrClient(address, token="wrong"):
                pass
        async with DvrClient(address, token="secret") as player:
            await player.open(EVENTS)


async def test_nobody_there_is_said_at_once() -> None:
    with bind("127.0.0.1", 0) as listening:
        address = address_of(listening)
    with pytest.raises(ConnectionFailedError, match="timeline serve"):
        async with DvrClient(address):
            pass


def test_addresses_of_servers_and_sockets() -> None:
    assert socket_address("http://127.0.0.1:8321") == "ws://127.0.0.1:8321/api/dvr"
    assert socket_address("wss://example.org/x/dvr?y=1") == "wss://example.org/x/dvr?y=1"
    for wrong in ("127.0.0.1:8321", "ftp://example.org", "http://"):
        with pytest.raises(SettingsError):
            socket_address(wrong)


@contextmanager
def in_a_thread() -> Iterator[str]:
    """A server with an event loop of its own."""
    found: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running() as address:
            found.append(address)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    try:
        yield found[0]
    finally:
        done.set()
        thread.join()


def test_the_same_without_await() -> None:
    with in_a_thread() as address, SyncDvrClient(address) as player:
        player.open(EVENTS)
        player.play(2, 6, speed=100)
        assert [n for message in player.window() for n in shown(message)] == [2, 3, 4, 5, 6]
        with pytest.raises(RefusedRequest):
            player.resume()


async def all_of(player: DvrClient) -> None:
    async for _ in player:
        pass


async def test_a_fault_in_resuming_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the new socket hears of it, and does not wait for ever."""

    def fault(_: ClientState) -> list[AnyRequest]:
        raise KeyError("a fault")

    async with running() as address, DvrClient(address) as player:
        await player.open(EVENTS)
        monkeypatch.setattr(ClientState, "again", fault)
        player._socket.transport.abort()
        with pytest.raises(KeyError, match="a fault"):
            await asyncio.wait_for(all_of(player), 60)
        with pytest.raises(KeyError, match="a fault"):
            await player.pause()
