"""``Lease``: for how long a process may go on with calls: as long as somebody has lately taken its word.

Every quarter of the lease it is renewed by ``beat``, which returns once the other side has taken it. When
half a lease has passed since the last that was taken was sent, it is lost: the other side gives up after a
whole one, so that there is half a lease for calls to end in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Gone(Exception):
    """Raised by ``beat``: the other side has given up already, or wants the calls to end."""


class Lease:
    """``seconds``: the whole lease; ``lost``: set once it is, and ``why``."""

    def __init__(
        self,
        seconds: float,
        beat: Callable[[], Awaitable[None]],
        renewed: Callable[[], None] = lambda: None,
    ) -> None:
        self.seconds = seconds
        self.lost = asyncio.Event()
        self.why = ""
        self._beat, self._renewed = beat, renewed
        self._clock = asyncio.get_running_loop().time
        self._sent = self._until = self._clock()

    @property
    def held(self) -> bool:
        """Whether calls may go on, also where ``keep`` had no chance to say so."""
        return not self.lost.is_set() and self._clock() < self._until

    async def keep(self) -> None:
        """Renew it, once it was begun, until it is ``lost``."""
        while True:
            await asyncio.sleep(max(self._sent + self.seconds / 4 - self._clock(), 0))
            if not await self._renew():
                return

    async def begin(self) -> bool:
        """Renew it for the first time; returns whether it was taken. Nothing may be called before."""
        self._until = self._clock() + self.seconds / 2
        return await self._renew()

    async def _renew(self) -> bool:
        last = ""
        while True:
            sent = self._clock()
            left = self._until - sent
            if left <= 0:
                return self._lose(f"nobody has taken a heartbeat for {self.seconds / 2:g} s{last}")
            try:
                await asyncio.wait_for(self._beat(), left)
            except Gone as error:
                return self._lose(str(error))
            except Exception as error:
                last = f": {type(error).__name__}: {error}"[:200]
                await asyncio.sleep(min(self.seconds / 16, max(self._until - self._clock(), 0)))
            else:
                self._sent, self._until = sent, sent + self.seconds / 2
                self._renewed()
                return True

    def _lose(self, why: str) -> bool:
        self.why = why
        self.lost.set()
        return False
