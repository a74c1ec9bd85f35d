"""Leaving a process, and running several.

A process that has loaded Temporal's native core can crash while the interpreter tears down, after its work
is done (sdk-python issue 300), which turns a success into a failing exit code. Every entry point that talks
to Temporal therefore leaves through ``leave``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import NoReturn

# New objects, less those that are gone: a few batches of the feeder.
COLLECT_EVERY = 500_000


def leave(code: int = 0) -> NoReturn:
    """Flush what was written and end the process at once with exit code ``code``."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # A reader that went away (`timeline query | head`) is no failure of ours.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def collect_seldom() -> None:
    """Have the collector of reference cycles look seldom, and pass over what is there by now.

    For processes that run long and handle many small objects at a time: by default each 700 of them have it
    look through some, which took a third of the time in which the feeder receives a message. Memory that is
    not in cycles is freed at once either way.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 50)


@contextlib.asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """Give an event that SIGINT or SIGTERM sets; a second signal acts as if nobody had asked for it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def asked() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, asked)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def run_children(commands: Sequence[Sequence[str]], stop: asyncio.Event, grace: float = 15.0) -> int:
    """Run ``commands`` as child processes until ``stop`` is set or one of them ends.

    Children are spawned, never forked after a client exists. When one ends the others are told to (SIGTERM,
    then SIGKILL after ``grace`` seconds), and its exit code is returned; 0 when ``stop`` was set. No child
    outlives the call.
    """
    children = [subprocess.Popen(list(command)) for command in commands]
    ended = [asyncio.ensure_future(asyncio.to_thread(child.wait)) for child in children]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([stopping, *ended], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return 0
        return next(future.result() for future in ended if future.done())
    finally:
        stopping.cancel()
        for child in children:
            if child.poll() is None:
                child.terminate()
        _, running = await asyncio.wait(ended, timeout=grace)
        if running:
            for child in children:
                child.kill()
            await asyncio.wait(running)
