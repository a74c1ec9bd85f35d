"""``DvrClient``: plays what a server of ``timeline.dvr.v1`` has recorded, from Python.

    async with DvrClient("http://127.0.0.1:8321") as player:
        await player.open(TimelinesChannel(channel="cirr", metric="cirr", keys=["s1"]))
        await player.play(0, 60, speed=20)
        async for message in player.window():
            ...

Messages come in order, and nothing of an older epoch after the reply to what made the playhead jump. A frame
is acknowledged when the next message is asked for, so that a slow loop is sent fewer, larger frames. A socket
that is lost is opened again, and played on from where it was (``client_state``).

Errors: RefusedRequest, with the code, for what the server refuses; ConnectionFailedError where it cannot be
reached for ``patience`` seconds, or takes no token. It needs the extra ``[web]``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError
from pydantic_core import from_json
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from timeline_workers.errors import ConnectionFailedError, SettingsError

from .asyncapi import ADDRESS, messages
from .client_state import ClientState
from .codes import CloseCode, DvrCode, RefusedRequest
from .replies import PROTOCOL, AnyMessage, Failed, Frame, Hello, Opened, Snapshot, State
from .requests import (
    Ack,
    AnyRequest,
    At,
    Channel,
    Close,
    Open,
    Pause,
    Play,
    Resume,
    Seek,
    SetSpeed,
    Stop,
    Time,
)

_FATAL: Final = {
    CloseCode.NO_TOKEN: "it wants another token",
    CloseCode.FOREIGN_ORIGIN: "it takes no requests of this origin",
    CloseCode.TOO_MANY_SOCKETS: "this token has as many sockets as it may",
    CloseCode.NOT_JSON: "it takes our messages for no JSON",
    CloseCode.TOO_LONG: "a request was too long",
}
_MODELS: Final = messages()


class DvrClient:
    """See the module. ``address``: of the server, or of its socket; ``token``: where it wants one;
    ``patience``: for how many seconds a server that cannot be reached is waited for.
    """

    def __init__(
        self, address: str = "http://127.0.0.1:8321", *, token: str | None = None, patience: float = 30.0
    ) -> None:
        self.address = socket_address(address)
        self._token, self._patience = token, patience
        self._state = ClientState()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[AnyMessage]] = {}
        self._unread: deque[tuple[AnyMessage, int | None]] = deque()
        self._news = asyncio.Event()
        self._open = asyncio.Event()
        self._greeted = asyncio.Event()
        self._socket: Any = None
        self._unacknowledged: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self.hello: Hello | None = None
        self.sockets = 0
        """How many sockets there have been."""

    async def __aenter__(self) -> Self:
        """Connect. Raises ConnectionFailedError."""
        self._task = asyncio.create_task(self._run())
        await self._until_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # Requests.

    async def open(
        self,
        *channels: Channel,
        axis: Literal["event", "system"] | None = None,
        as_of: Time | None = None,
        edge: Literal["recorded", "final"] | None = None,
    ) -> Opened:
        """Open channels under the playhead; what is None stays as it is."""
        view = {
            name: value
            for name, value in (("axis", axis), ("as_of", as_of), ("edge", edge))
            if value is not None
        }
        reply = await self.request(Open(channels=list(channels), **view))  # type: ignore[arg-type]
        assert isinstance(reply, Opened)
        return reply

    async def close(self, *channels: str) -> Opened:
        """Close channels; the reply lists those that are left."""
        reply = await self.request(Close(channels=list(channels)))
        assert isinstance(reply, Opened)
        return reply

    async def play(
        self,
        start: Time | None = None,
        end: Time | None = None,
        *,
        speed: float | None = None,
        loop: bool = False,
    ) -> AnyMessage:
        """Play a window, both ends included; without an end to the live edge and on."""
        return await self.request(Play(start=start, end=end, speed=speed, loop=loop))

    async def pause(self) -> AnyMessage:
        """Stand still."""
        return await self.request(Pause())

    async def resume(self) -> AnyMessage:
        """Go on."""
        return await self.request(Resume())

    async def stop(self) -> AnyMessage:
        """Give the window up."""
        return await self.request(Stop())

    async def seek(self, to: Time) -> AnyMessage:
        """Jump to an instant, to ``"start"``, ``"end"`` or ``"live"``."""
        return await self.request(Seek(to=to))

    async def set_speed(self, speed: float) -> AnyMessage:
        """Go on at another speed."""
        return await self.request(SetSpeed(speed=speed))

    async def at(self, instant: Time, channels: Sequence[str] | None = None) -> Snapshot:
        """The levels at an instant, without moving the playhead."""
        reply = await self.request(At(at=instant, channels=None if channels is None else list(channels)))
        assert isinstance(reply, Snapshot)
        return reply

    async def request(self, request: AnyRequest) -> AnyMessage:
        """Ask anything, and return the reply. Raises RefusedRequest; ConnectionFailedError where the socket
        is lost before the reply comes: whether it was done is not known then.
        """
        await self._until_open()
        if isinstance(request, Play | Seek):
            self._state.jumps()
        reply: AnyMessage | None = None
        for one in self._state.instead(request):
            reply = await self._ask(one)
        assert reply is not None
        return reply

    # Messages.

    def __aiter__(self) -> AsyncIterator[AnyMessage]:
        """All messages but replies that are no states, for ever."""
        return self._messages()

    async def window(self) -> AsyncIterator[AnyMessage]:
        """The messages until the window has ended, or was stopped."""
        async for message in self:
            yield message
            if isinstance(message, State) and message.status in ("ended", "stopped"):
                return

    async def _messages(self) -> AsyncIterator[AnyMessage]:
        while True:
            await self._acknowledge()
            # While a socket is made good, what it repeats is not shown.
            while not (self._unread and self._open.is_set()):
                if self._failure is not None:
                    raise self._failure
                self._news.clear()
                await self._news.wait()
            message, frame = self._unread.popleft()
            if frame is not None:
                self._unacknowledged = frame
            yield message

    async def _acknowledge(self) -> None:
        frame, self._unacknowledged = self._unacknowledged, None
        if frame is not None and self._socket is not None:
            await self._send(Ack(frame=frame))

    # The socket.

    async def _until_open(self) -> None:
        await self._open.wait()
        if self._failure is not None:
            raise self._failure

    async def _ask(self, request: AnyRequest) -> AnyMessage:
        number = next(self._numbers)
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            await self._send(request.model_copy(update={"id": number}))
            reply: AnyMessage = await waiting
        finally:
            self._waiting.pop(number, None)
        if isinstance(reply, Failed):
            span = None if reply.span is None else (reply.span[0], reply.span[1])
            raise RefusedRequest(
                DvrCode(reply.code), reply.message, field=reply.field, hint=reply.hint, span=span
            )
        self._state.done(request)
        return reply

    async def _send(self, request: AnyRequest) -> None:
        from websockets.exceptions import ConnectionClosed

        said = request.model_dump(mode="json", exclude_unset=True) | {"action": request.action}
        if request.id is None:
            said.pop("id", None)
        try:
            await self._socket.send(json.dumps(said))
        except ConnectionClosed:
            if not isinstance(request, Ack):
                raise ConnectionFailedError(f"{self.address}: the socket was lost", may_pass=True) from None

    async def _run(self) -> None:
        """Keep a socket open until the client is left, or nothing helps."""
        try:
            while self._failure is None:
                async with await self._dial() as socket:
                    await self._live(socket)
        except Exception as error:  # whoever waits for messages is to hear of it, whatever it is
            self._failure = error
        except asyncio.CancelledError:
            self._failure = ConnectionFailedError("the client was closed")
            raise
        finally:
            self._open.set()
            self._news.set()
            self._forget_waiting()

    async def _dial(self) -> Any:
        try:
            from websockets.asyncio.client import connect
            from websockets.exceptions import InvalidHandshake
            from websockets.typing import Subprotocol
        except ImportError as error:
            raise SettingsError(f"{error}; pip install 'timeline-workers[web]'") from None
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

        async def dial() -> Any:
            # Frames are bounded by the server, and their number by what is acknowledged.
            return await connect(
                self.address,
                subprotocols=[Subprotocol(PROTOCOL)],
                additional_headers=headers,
                max_size=None,
            )

        retrying = AsyncRetrying(
            retry=retry_if_exception_type((OSError, InvalidHandshake)),
            wait=wait_exponential(multiplier=0.1, max=5),
            stop=stop_after_delay(self._patience if self.sockets else 0),
            reraise=True,
        )
        try:
            return await retrying(dial)
        except (OSError, InvalidHandshake) as error:
            raise ConnectionFailedError(
                f"{self.address} cannot be reached: {error}; is `timeline serve` or `timeline dev` running?",
                may_pass=True,
            ) from error

    async def _live(self, socket: Any) -> None:
        """Use a socket until it is lost."""
        from websockets.exceptions import ConnectionClosed

        self._socket = socket
        self.sockets += 1
        self._greeted.clear()
        resuming = asyncio.create_task(self._resume(socket))
        try:
            while True:
                self._hear(await socket.recv())
        except ConnectionClosed as closed:
            code = 1006 if closed.rcvd is None else closed.rcvd.code
            if code in _FATAL:
                raise ConnectionFailedError(f"{self.address}: {_FATAL[CloseCode(code)]}") from None
        finally:
            self._socket = None
            self._open.clear()
            resuming.cancel()
            self._forget_waiting()
            await asyncio.gather(resuming, return_exceptions=True)
            self._state.lost()
            self._unacknowledged = None
            self._unread = deque((message, None) for message, _ in self._unread)

    async def _resume(self, socket: Any) -> None:
        """Have the new socket where the last one was."""
        await self._greeted.wait()
        try:
            for request in self._state.again():
                await self._ask(request)
        except ConnectionFailedError:
            return  # this one is lost, too
        except Exception as error:  # a refusal, or a fault: whoever waits for the socket is to hear of it
            self._failure = error
            await socket.close()
        self._open.set()
        self._news.set()

    def _hear(self, text: str | bytes) -> None:
        message = _message(text)
        if message is None:
            return
        if isinstance(message, Hello):
            self.hello = message
            self._greeted.set()
            return
        reply = getattr(message, "reply", None)
        number = message.frame if isinstance(message, Frame) else None
        message = self._state.heard(message)
        # A jump that was asked for leaves what was before it; playing on after a lost socket does not.
        if isinstance(message, State) and reply is not None and self._open.is_set():
            self._unread = deque(
                one for one in self._unread if getattr(one[0], "epoch", message.epoch) >= message.epoch
            )
        if reply is None or isinstance(message, State):
            self._unread.append((message, number))
            self._news.set()
        waiting = self._waiting.get(reply) if isinstance(reply, int) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _forget_waiting(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                lost = f"{self.address}: the socket was lost before the reply came; ask again"
                waiting.set_exception(ConnectionFailedError(lost, may_pass=True))


def socket_address(address: str) -> str:
    """The address of the socket of a server. Raises SettingsError for what is no address."""
    parts = urlsplit(address)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise SettingsError(f"{address!r} is no address of a server; write http://127.0.0.1:8321")
    path = parts.path if parts.path not in ("", "/") else ADDRESS
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def _message(text: str | bytes) -> AnyMessage | None:
    """A message; None for one of a kind that a later release has. Fields that it has added are left out."""
    said = from_json(text)
    model = _MODELS.get(said.get("type", ""))
    if model is None:
        return None
    try:
        return model.model_validate(said)  # type: ignore[return-value]
    except ValidationError as error:
        unknown = {
            e["loc"][0] for e in error.errors() if e["type"] == "extra_forbidden" and len(e["loc"]) == 1
        }
        return model.model_validate({k: v for k, v in said.items() if k not in unknown})  # type: ignore[return-value]
