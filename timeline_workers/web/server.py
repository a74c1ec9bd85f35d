"""Server: runs an ASGI application on uvicorn, with the limits of the player's protocol.

Messages over 64 KiB close a socket with 1009, a restart of the server closes all with 1012.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from timeline_workers.errors import SettingsError
from timeline_workers.playback.requests import LONGEST_REQUEST

from .access import is_loopback

GRACE_SECONDS: Final = 5  # for requests that are under way when it is to end


class _Server(uvicorn.Server):
    """uvicorn, which takes signals for itself, and sends them on when it has ended: not so here."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none: who runs the server does."""
        yield


def server(app: ASGIApp, *, compress: bool = False) -> uvicorn.Server:
    """A server that is not running yet; ``await server.serve([listening])`` runs it. ``compress``: what is
    sent over WebSockets, which is worth its cost beyond this machine.
    """
    return _Server(
        uvicorn.Config(
            app,
            ws="websockets-sansio",
            ws_max_size=LONGEST_REQUEST,
            ws_per_message_deflate=compress,
            lifespan="off",
            access_log=False,  # addresses may hold a token
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises SettingsError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host.strip("[]"), port), family=family)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; stop what listens there, or "
            "give another --port"
        ) from None
    # Connections inherit it: else a message that follows another waits for the acknowledgement, up to 40 ms.
    # asyncio sets it only on sockets that name their protocol.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address_of(listening: socket.socket) -> str:
    """The address that a browser opens."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_until(app: ASGIApp, listening: socket.socket, stop: asyncio.Event) -> None:
    """Serve ``app`` on a socket that listens until ``stop`` is set."""
    runs = server(app, compress=not is_loopback(listening.getsockname()[0]))

    async def end() -> None:
        await stop.wait()
        runs.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await runs.serve([listening])
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
