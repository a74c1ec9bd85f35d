"""A feeder without memory ends, whatever of it is still running, so that it is started again."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from timeline_workers.process.exit_codes import ExitCode

_FEEDER = """
import asyncio, threading
from feeder import __main__ as feeder

# As those of the client libraries: they keep a process alive whose main thread has ended.
threading.Thread(target=threading.Event().wait).start()

class Hungry:
    async def run(self, stop):
        raise {error}

async def made(topic):
    return Hungry()

async def run(*_):
    {how}

feeder._run = run
feeder.app([])
"""


@pytest.mark.parametrize(
    "how",
    [
        "raise MemoryError",
        "await feeder._feed_topic('t', made, asyncio.Event())",
    ],
    ids=["anywhere", "feeding"],
)
@pytest.mark.parametrize("error", ["MemoryError", "ExceptionGroup('delivery', [MemoryError()])"])
def test_a_feeder_without_memory_ends_at_once(how: str, error: str) -> None:
    """Threads that go on do not hold it up, and neither does trying to deliver again."""
    program = textwrap.dedent(_FEEDER).format(how=how, error=error)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == ExitCode.OUT_OF_MEMORY, ended.stderr
    assert "out of memory" in ended.stderr
