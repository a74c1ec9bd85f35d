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
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, NoReturn, TypeVar

from .exit_codes import ExitCode

T = TypeVar("T")
# A child that ends this often within so many seconds each is given up.
QUICK_SECONDS = 5.0
QUICK_FAILURES = 3

# New objects, less those that are gone: a few batches of the feeder.
COLLECT_EVERY = 500_000


def leave(code: int = ExitCode.OK) -> NoReturn:
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
    gc.enable()
    gc.freeze()  # to collect before takes 50 ms, and finds one object in a hundred
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


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """The result of ``work``, or None when ``stop`` was set before; ``work`` is cancelled then."""
    task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, stopping):
            one.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)


async def run_children(
    commands: Sequence[Sequence[str]],
    stop: asyncio.Event,
    tell: Callable[[str], object],
    grace: float = 15.0,
) -> int:
    """Keep ``commands`` running as child processes until ``stop`` is set; returns 0 then.

    A child that ends by itself is started again, and ``tell`` is given a line about it. One that ends three
    times within five seconds each has the others stopped, and its exit code is returned. Children are told
    to stop all at once (SIGTERM, then SIGKILL after ``grace`` seconds); none outlives the call.
    """
    ending = asyncio.Event()
    kept = [asyncio.ensure_future(_keep(list(command), ending, tell, grace)) for command in commands]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([stopping, *kept], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        given_up = [child.result() for child in kept if child.done()]
        ending.set()
        await asyncio.gather(*kept, return_exceptions=True)
    return 0 if stop.is_set() else given_up[0]


async def _keep(command: list[str], stop: asyncio.Event, tell: Callable[[str], object], grace: float) -> int:
    failures = 0
    while True:
        began = monotonic()
        child = await asyncio.create_subprocess_exec(*command)
        try:
            code = await unless_stopped(child.wait(), stop)
        finally:
            if child.returncode is None:
                child.terminate()
                try:
                    await asyncio.wait_for(child.wait(), grace)
                except TimeoutError:
                    child.kill()
                    await child.wait()
        if code is None:
            return 0
        failures = failures + 1 if monotonic() - began < QUICK_SECONDS else 1
        if failures >= QUICK_FAILURES:
            return code
        tell(f"process {child.pid} ended with exit code {code}; starting another one")
