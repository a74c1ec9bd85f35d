"""The server's sockets: messages are sent at once, and compressed where that is asked for."""

from __future__ import annotations

import asyncio
import socket

import pytest

pytest.importorskip("fastapi")
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.playback.virtual import ten
from timeline_workers.playback.asyncapi import ADDRESS
from timeline_workers.playback.replies import PROTOCOL
from timeline_workers.web.access import Access
from timeline_workers.web.dvr import application
from timeline_workers.web.server import address_of, bind, serve_until, server


def test_a_message_does_not_wait_for_the_one_before() -> None:
    """Nagle's algorithm is off on each connection: else the second of two messages comes 40 ms late."""
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()) as _:
        accepted, _address = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def extensions(address: str) -> str | None:
    """What a server takes of what the client offers, compression among it."""
    where = address.replace("http", "ws") + ADDRESS
    async with connect(where, subprotocols=[Subprotocol(PROTOCOL)], compression="deflate") as client:
        assert client.response is not None
        return client.response.headers.get("Sec-WebSocket-Extensions")


async def test_on_this_machine_nothing_is_compressed() -> None:
    stop = asyncio.Event()
    with bind("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(serve_until(application(ten(), Access()), listening, stop))
        assert await extensions(address_of(listening)) is None
        stop.set()
        await serving


async def test_what_goes_elsewhere_is_compressed() -> None:
    with bind("127.0.0.1", 0) as listening:
        runs = server(application(ten(), Access()), compress=True)
        serving = asyncio.create_task(runs.serve([listening]))
        assert "permessage-deflate" in (await extensions(address_of(listening)) or "")
        runs.should_exit = True
        await serving
