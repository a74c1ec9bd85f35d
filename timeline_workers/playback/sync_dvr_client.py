"""``SyncDvrClient``: ``DvrClient`` without ``await``, for scripts and notebooks.

    with SyncDvrClient("http://127.0.0.1:8321") as player:
        player.open(EventsChannel(channel="ev", events="playback-events"))
        player.play(0, 60, speed=20)
        for message in player.window():
            ...

It has an event loop of its own, in a thread of its own, so that it can be used where a loop runs already.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from timeline_workers.errors import TimelineError

from .dvr_client import DvrClient
from .replies import AnyMessage, Opened, Snapshot
from .requests import AnyRequest, Channel, Time

T = TypeVar("T")


class SyncDvrClient:
    """See the module; every method does what the one of that name does in ``DvrClient``."""

    def __init__(
        self, address: str = "http://127.0.0.1:8321", *, token: str | None = None, patience: float = 30.0
    ) -> None:
        self._client = DvrClient(address, token=token, patience=patience)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dvr-client", daemon=True)

    def __enter__(self) -> Self:
        """Connect. Raises ConnectionFailedError."""
        self._thread.start()
        try:
            self._wait(self._client.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket, and end the thread."""
        self._wait(self._client.__aexit__(None, None, None))
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed() or not self._thread.is_alive():
            call.close()
            raise TimelineError("this client is not connected; use it in a with statement")
        waiting = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()  # Ctrl-C: nobody waits for it any more
            raise

    def open(
        self,
        *channels: Channel,
        axis: Literal["event", "system"] | None = None,
        as_of: Time | None = None,
        edge: Literal["recorded", "final"] | None = None,
    ) -> Opened:
        """See ``DvrClient.open``."""
        return self._wait(self._client.open(*channels, axis=axis, as_of=as_of, edge=edge))

    def close(self, *channels: str) -> Opened:
        """See ``DvrClient.close``."""
        return self._wait(self._client.close(*channels))

    def play(
        self,
        start: Time | None = None,
        end: Time | None = None,
        *,
        speed: float | None = None,
        loop: bool = False,
    ) -> AnyMessage:
        """See ``DvrClient.play``."""
        return self._wait(self._client.play(start, end, speed=speed, loop=loop))

    def pause(self) -> AnyMessage:
        """See ``DvrClient.pause``."""
        return self._wait(self._client.pause())

    def resume(self) -> AnyMessage:
        """See ``DvrClient.resume``."""
        return self._wait(self._client.resume())

    def stop(self) -> AnyMessage:
        """See ``DvrClient.stop``."""
        return self._wait(self._client.stop())

    def seek(self, to: Time) -> AnyMessage:
        """See ``DvrClient.seek``."""
        return self._wait(self._client.seek(to))

    def set_speed(self, speed: float) -> AnyMessage:
        """See ``DvrClient.set_speed``."""
        return self._wait(self._client.set_speed(speed))

    def at(self, instant: Time, channels: Sequence[str] | None = None) -> Snapshot:
        """See ``DvrClient.at``."""
        return self._wait(self._client.at(instant, channels))

    def request(self, request: AnyRequest) -> AnyMessage:
        """See ``DvrClient.request``."""
        return self._wait(self._client.request(request))

    def __iter__(self) -> Iterator[AnyMessage]:
        """All messages, for ever."""
        return self._each(aiter(self._client))

    def window(self) -> Iterator[AnyMessage]:
        """The messages until the window has ended, or was stopped."""
        return self._each(self._client.window())

    def _each(self, messages: AsyncIterator[AnyMessage]) -> Iterator[AnyMessage]:
        async def following() -> AnyMessage | None:
            return await anext(messages, None)

        while (message := self._wait(following())) is not None:
            yield message
