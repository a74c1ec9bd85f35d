"""Threads for blocking calls and long computations, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class OneThread:
    """One thread that runs one call after the other. Close it when nothing runs on it any more."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Run a blocking call on the thread, and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def close(self) -> None:
        """Let the thread end; does not wait for it."""
        self._thread.shutdown(wait=False)
