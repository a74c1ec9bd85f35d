"""Session: runs a player over a socket and a recording, in asyncio, until either side is done.

The player is told of messages, answers and time by one task, in order; reads and sending run beside it. When
the client is gone, or closes, everything of the session ends at once: its reads, its timers, its tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from pydantic_core import from_json

from .codes import CloseCode, RefusedRequest
from .outbox import Output
from .plain import Plain
from .player import Player
from .playhead import Settings
from .reads import Answer, Read
from .recording import Reads, Recording
from .replies import Failed
from .requests import LONGEST_REQUEST

MOST_UNSENT = 1_000  # messages; a client that reads nothing is closed then

Step = Callable[[int], Output]


class Socket(Protocol):
    """What a session needs of a socket. Both raise ConnectionError when the client is gone."""

    async def receive(self) -> str | bytes:
        """The next message; binary ones are bytes."""
        ...

    async def send(self, text: str) -> None:
        """Send a message."""
        ...


async def together(things: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Several things at once, on one event loop."""
    return list(await asyncio.gather(*things))


class Session:
    """One socket's session. ``plain``: the socket speaks tivo's messages; None: the player's own."""

    def __init__(
        self,
        socket: Socket,
        recording: Recording,
        *,
        version: str = "",
        settings: Settings | None = None,
        plain: Plain | None = None,
    ) -> None:
        self._socket, self._plain = socket, plain
        self._player = Player(version=version, settings=settings)
        self._reads = Reads(recording, together)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._steps: asyncio.Queue[Step | None] = asyncio.Queue()
        self._unsent: asyncio.Queue[tuple[str, Step | None] | None] = asyncio.Queue()
        self._may_receive = asyncio.Event()
        self._wake: int | None = None
        self._close: CloseCode | None = None

    async def run(self) -> CloseCode | None:
        """Run until the client is gone (None), or is to be closed, with what."""
        beside = [asyncio.create_task(self._receive()), asyncio.create_task(self._send())]
        try:
            self._take(self._player.start(_now()))
            for request in [] if self._plain is None else self._plain.first():
                self._take(self._player.request(_now(), request))
            while self._close is None and (step := await self._next()) is not None:
                self._take(step(_now()))
            if self._close is not None:  # what was said before it, as why a request was refused
                await asyncio.wait(beside[1:], timeout=1)
            return self._close
        finally:
            tasks = [*beside, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self) -> Step | None:
        """The next thing to tell the player; None: the client is gone."""
        if self._wake is None:
            return await self._steps.get()
        try:
            async with asyncio.timeout(max(self._wake - _now(), 0) / 1_000_000):
                return await self._steps.get()
        except TimeoutError:
            return self._player.tick

    def _take(self, output: Output) -> None:
        for message in output.messages:
            if self._plain is None:
                self._unsent.put_nowait((message.to_json(), None))
                continue
            texts: list[tuple[str, Step | None]] = [(text, None) for text in self._plain.texts(message)]
            if (request := self._plain.acknowledgement(message)) is not None:
                texts.append(("", lambda now, said=request: self._player.request(now, said)))  # type: ignore[misc]
            for pair in texts:
                self._unsent.put_nowait(pair)
        for number in output.cancelled:
            if (task := self._tasks.pop(number, None)) is not None:
                task.cancel()
        for number, read in output.reads:
            self._tasks[number] = asyncio.create_task(self._read(number, read))
        self._wake = output.wake
        self._close = output.close
        if self._unsent.qsize() > MOST_UNSENT:
            self._close = CloseCode.NOT_ACKNOWLEDGED
        if self._close is not None:
            self._unsent.put_nowait(None)
        if self._player.wants_more:
            self._may_receive.set()
        else:
            self._may_receive.clear()

    async def _read(self, number: int, read: Read) -> None:
        try:
            answer: Answer = await self._reads.do(read)
        except Exception as error:  # a fault of ours: it ends the session, and is not lost with this task
            self._steps.put_nowait(partial(_fail, error))
            return
        if self._tasks.pop(number, None) is not None:
            self._steps.put_nowait(lambda now: self._player.answered(now, number, answer))

    async def _receive(self) -> None:
        try:
            while True:
                await self._may_receive.wait()
                text = await self._socket.receive()
                self._steps.put_nowait(partial(self._hear, text))
                await asyncio.sleep(0)  # one message at a time: the player may want no more of them
        except ConnectionError:
            self._steps.put_nowait(None)
        except Exception as error:  # as of a read: nobody else awaits this task
            self._steps.put_nowait(partial(_fail, error))

    def _hear(self, text: str | bytes, now: int) -> Output:
        """Tell the player a message; binary ones are no JSON text."""
        said = text if isinstance(text, str) else "\N{REPLACEMENT CHARACTER}"
        if self._plain is None or len(said) > LONGEST_REQUEST:
            return self._player.receive(now, said)
        try:
            return self._player.request(now, self._plain.request(from_json(said)))
        except RefusedRequest as refusal:
            output = self._player.tick(now)
            output.messages.append(Failed(code=refusal.reason, message=str(refusal)))
            return output
        except ValueError:
            return self._player.receive(now, said)

    async def _send(self) -> None:
        try:
            while (pair := await self._unsent.get()) is not None:
                text, then = pair
                if text:
                    await self._socket.send(text)
                if then is not None:
                    self._steps.put_nowait(then)
        except ConnectionError:
            self._steps.put_nowait(None)
        except Exception as error:  # as of a read: nobody else awaits this task
            self._steps.put_nowait(partial(_fail, error))


def _now() -> int:
    return time.monotonic_ns() // 1_000


def _fail(error: Exception, now: int) -> Output:
    raise error
