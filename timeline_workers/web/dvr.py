"""``/api/dvr``: the player's socket, as a route and as an ASGI application.

With the subprotocol ``timeline.dvr.v1`` it speaks the player's messages, without it those of tivo, about the
events that the query names (``?events=TOPIC``). Refused sockets are accepted and closed with a code that says
why (browsers do not show the status of a refused one); a foreign Host header is answered with 400.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from timeline_workers.playback.asyncapi import ADDRESS
from timeline_workers.playback.codes import CloseCode
from timeline_workers.playback.plain import Plain
from timeline_workers.playback.playhead import Settings
from timeline_workers.playback.recording import Recording
from timeline_workers.playback.replies import PROTOCOL
from timeline_workers.playback.session import Session

from .access import Access
from .request_guard import Guard


class _Socket:
    """The socket that a session sees."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise ConnectionError("the client is gone")
        text: str | bytes | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send(self, text: str) -> None:
        try:
            await self._websocket.send_text(text)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:  # servers differ in what they raise
            raise ConnectionError("the client is gone") from error


def dvr_route(
    recording: Recording, access: Access, *, version: str = "", settings: Settings | None = None
) -> WebSocketRoute:
    """The socket, over ``recording``; ``settings``: of every player."""

    async def dvr(websocket: WebSocket) -> None:
        is_own = PROTOCOL in websocket.scope["subprotocols"]
        await websocket.accept(subprotocol=PROTOCOL if is_own else None)
        code = access.refusal(websocket.headers, websocket.query_params)
        if code is None:
            with access.socket() as may:
                code = await play(websocket, is_own) if may else CloseCode.TOO_MANY_SOCKETS
        if code is not None:
            await _close(websocket, code)

    async def play(websocket: WebSocket, is_own: bool) -> CloseCode | None:
        plain = None if is_own else Plain(websocket.query_params.get("events", ""))
        session = Session(_Socket(websocket), recording, version=version, settings=settings, plain=plain)
        return await session.run()

    return WebSocketRoute(ADDRESS, dvr)


def application(
    recording: Recording, access: Access, *, version: str = "", settings: Settings | None = None
) -> ASGIApp:
    """An application that has the socket, and nothing else."""
    routes = [dvr_route(recording, access, version=version, settings=settings)]
    return Guard(Starlette(routes=routes), access)


async def _close(websocket: WebSocket, code: CloseCode) -> None:
    try:
        await websocket.close(int(code), code.name.lower().replace("_", " "))
    except (RuntimeError, OSError):
        return  # it is gone already
