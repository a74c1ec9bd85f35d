"""The player's socket on a real uvicorn: who may open it, what closes it, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("uvicorn")
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.playback.virtual import ten
from timeline_workers.errors import SettingsError
from timeline_workers.playback.replies import PROTOCOL
from timeline_workers.web.access import SOCKETS, Access
from timeline_workers.web.dvr import application
from timeline_workers.web.server import server

OWN = [Subprotocol(PROTOCOL)]


class Running:
    """A server on a free port."""

    def __init__(self, port: int, access: Access) -> None:
        self.port, self.access = port, access
        self.address = f"ws://127.0.0.1:{port}/api/dvr"

    async def until_open(self, sockets: int) -> None:
        """Until so many sockets are open; not longer than a second."""
        async with asyncio.timeout(1):
            while self.access.sockets != sockets:
                await asyncio.sleep(0)


async def run(access: Access) -> AsyncIterator[Running]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        runs = server(application(ten(), access, version="test"))
        task = asyncio.create_task(runs.serve([listening]))
        while not runs.started:
            await asyncio.sleep(0)
        yield Running(listening.getsockname()[1], access)
        runs.should_exit = True
        await task


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Running]:
    async for one in run(Access(origins=("https://example.org",))):
        yield one


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Running]:
    async for one in run(Access(token="secret")):
        yield one


async def until(client: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """All messages up to the first of a kind."""
    found: list[dict[str, Any]] = []
    while not found or found[-1].get("type") != kind:
        found.append(json.loads(await client.recv()))
    return found


async def closed(client: ClientConnection) -> int | None:
    """With which code the server closes a socket."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await client.recv()
    return client.close_code


async def test_a_window_over_a_real_socket(running: Running) -> None:
    async with connect(running.address, subprotocols=OWN) as client:
        assert client.subprotocol == PROTOCOL
        await until(client, "hello")
        channel = {"channel": "ev", "events": "ten"}
        await client.send(json.dumps({"action": "open", "channels": [channel]}))
        await until(client, "opened")
        await client.send(json.dumps({"action": "play", "start": 0, "end": 9, "speed": 1_000}))
        frames = [m for m in await until(client, "state") if m["type"] == "frame"]
        while sum(frame["channels"]["ev"]["count"] for frame in frames) < 10:
            frames += await until(client, "frame")
        assert [r[2]["n"] for frame in frames for r in frame["channels"]["ev"]["records"]] == list(range(10))


async def test_without_the_subprotocol_it_is_plain(running: Running) -> None:
    async with connect(f"{running.address}?events=ten") as client:
        assert client.subprotocol is None
        await client.send(json.dumps({"command": "PLAY", "start": 0, "end": 9, "speed": 1_000}))
        said = await until(client, "END_NOLOOP")
        assert [event["n"] for event in said if "n" in event] == list(range(10))


async def test_d22_a_vanished_client_is_forgotten(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Its connection is reset in the middle of a loop; within a second nothing of it is left, in silence."""
    caplog.set_level(logging.INFO)
    client = await connect(running.address, subprotocols=OWN)
    channel = {"channel": "ev", "events": "ten"}
    await client.send(json.dumps({"action": "open", "channels": [channel]}))
    await client.send(json.dumps({"action": "play", "start": 0, "end": 9, "speed": 100, "loop": True}))
    await until(client, "frame")
    assert running.access.sockets == 1
    client.transport.abort()
    await running.until_open(0)
    await client.wait_closed()
    assert [r for r in caplog.records if r.levelno >= logging.WARNING or r.exc_info] == []


async def test_d25_a_page_of_another_site_is_refused(running: Running) -> None:
    async with connect(running.address, origin=Origin("https://evil.example"), subprotocols=OWN) as client:
        assert await closed(client) == 4403


@pytest.mark.parametrize("origin", ["https://example.org", "own"])
async def test_own_and_allowed_origins_may(running: Running, origin: str) -> None:
    said = f"http://127.0.0.1:{running.port}" if origin == "own" else origin
    async with connect(running.address, origin=Origin(said), subprotocols=OWN) as client:
        await until(client, "hello")


@pytest.mark.parametrize("query", ["", "?token=wrong", "?token="])
async def test_d25_without_the_token_it_is_refused(guarded: Running, query: str) -> None:
    async with connect(guarded.address + query, subprotocols=OWN) as client:
        assert await closed(client) == 4401


async def test_d25_the_token_comes_by_header_or_address(guarded: Running) -> None:
    async with connect(f"{guarded.address}?token=secret", subprotocols=OWN) as client:
        await until(client, "hello")
    headers = {"Authorization": "Bearer secret"}
    async with connect(guarded.address, subprotocols=OWN, additional_headers=headers) as client:
        await until(client, "hello")


async def test_d25_a_foreign_host_is_a_bad_request(running: Running) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect("ws://evil.example/api/dvr", host="127.0.0.1", port=running.port, subprotocols=OWN)
    assert caught.value.response.status_code == 400


async def test_the_ninth_socket_is_refused(running: Running) -> None:
    clients = [await connect(running.address, subprotocols=OWN) for _ in range(SOCKETS)]
    await running.until_open(SOCKETS)
    async with connect(running.address, subprotocols=OWN) as client:
        assert await closed(client) == 4429
    for client in clients:
        await client.close()
    await running.until_open(0)
    async with connect(running.address, subprotocols=OWN) as client:
        await until(client, "hello")


@pytest.mark.parametrize(
    ("message", "code"), [("play", 1003), (b"{}", 1003), ('"' + "x" * 65_536 + '"', 1009)]
)
async def test_what_is_no_message_closes_it(running: Running, message: str | bytes, code: int) -> None:
    async with connect(running.address, subprotocols=OWN) as client:
        await until(client, "hello")
        await client.send(message)
        assert await closed(client) == code


def test_other_addresses_need_a_token() -> None:
    with pytest.raises(SettingsError, match="TIMELINE_WEB_TOKEN"):
        Access("0.0.0.0")
    assert Access("192.0.2.1", token="secret").knows_host("192.0.2.1:8080")
    assert Access("::1").knows_host("[::1]:80")
    assert not Access().knows_host("127.0.0.1.evil.example")
