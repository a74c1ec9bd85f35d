"""Ending a process that has run out of memory, whatever part of it notices.

A MemoryError is caught like any other by client libraries, their threads and asyncio, and whoever waits for
what failed with it waits for ever; so the process ends at once, with exit code ``OUT_OF_MEMORY`` and a line
on stderr. Whatever started it starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from .exit_codes import ExitCode

# Given back before anything else, so that there is memory to end with.
_RESERVE_BYTES = 1 << 20
# Who cannot get so much more is about to fail, perhaps where nobody sees it.
HEADROOM_BYTES = 8 << 20
_LOOK_SECONDS = 1.0


def end(line: bytes) -> NoReturn:
    """Say ``line`` and end with ``ExitCode.OUT_OF_MEMORY``, without cleaning up: that takes memory."""
    with contextlib.suppress(OSError):
        os.write(2, line)
    os._exit(ExitCode.OUT_OF_MEMORY)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error`` is a MemoryError, has one among others, or was raised because of one."""
    seen = 0
    while error is not None and seen < 32:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, BaseExceptionGroup) and any(map(is_out_of_memory, error.exceptions)):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


@contextlib.contextmanager
def ending_without_memory(line: bytes) -> Iterator[None]:
    """End the process, and say ``line``, when the block is left because there is no memory."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            end(line)
        raise


def watch_for_memory_errors(line: bytes) -> None:
    """End the process, and say ``line``, from now on when a MemoryError reaches no caller: when it is left to
    the interpreter, in any thread, or is in what anything logs.
    """
    reserve = [bytearray(_RESERVE_BYTES)]

    def look(error: BaseException | None) -> None:
        if isinstance(error, MemoryError):
            reserve.clear()
        if is_out_of_memory(error):
            end(line)

    def left(kind: Any, error: BaseException, trace: Any) -> None:
        look(error)
        sys.__excepthook__(kind, error, trace)

    def left_in_thread(left: threading.ExceptHookArgs) -> None:
        look(left.exc_value)
        threading.__excepthook__(left)

    def unraisable(left: sys.UnraisableHookArgs) -> None:
        look(left.exc_value)
        sys.__unraisablehook__(left)

    make = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.exc_info:
            look(record.exc_info[1])
        return record

    sys.excepthook, threading.excepthook, sys.unraisablehook = left, left_in_thread, unraisable
    logging.setLogRecordFactory(factory)


async def watch_headroom(line: bytes) -> NoReturn:
    """End the process, and say ``line``, when it could not get ``HEADROOM_BYTES`` more. Runs until it is
    cancelled.
    """
    while True:
        try:
            bytearray(HEADROOM_BYTES)
        except MemoryError:
            end(line)
        await asyncio.sleep(_LOOK_SECONDS)
