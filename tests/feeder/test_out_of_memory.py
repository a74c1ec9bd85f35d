"""A feeder without memory ends, whatever of it is still running, so that it is started again."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from timeline_workers.process.exit_codes import ExitCode

_FEEDER = """
import asyncio, threading
from feeder import program as feeder

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


_UNSEEN = """
import asyncio, logging, threading
from feeder import program as feeder

def fail():
    raise MemoryError

def callback():
    asyncio.get_running_loop().call_soon(fail)

class Unraisable:
    def __del__(self):
        raise MemoryError

async def run(*_):
    {how}
    await asyncio.Event().wait()

feeder._run = run
feeder.app([])
"""


@pytest.mark.parametrize(
    "how",
    ["threading.Thread(target=fail).start()", "callback()", "Unraisable()"],
    ids=["thread", "callback", "unraisable"],
)
def test_memory_missing_where_nobody_looks_ends_it(how: str) -> None:
    """In a thread, in a callback of the event loop, and where Python itself swallows what is raised."""
    program = textwrap.dedent(_UNSEEN).format(how=how)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == ExitCode.OUT_OF_MEMORY, ended.stderr
    assert "out of memory" in ended.stderr


_LIMITED = """
import asyncio, resource
from pathlib import Path
from timeline_workers.process.out_of_memory import HEADROOM_BYTES, watch_headroom

pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + HEADROOM_BYTES // 2
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
asyncio.run(watch_headroom(b"error: out of memory"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
def test_a_process_without_headroom_ends() -> None:
    """It is about to fail, perhaps where nobody sees it."""
    ended = subprocess.run(
        [sys.executable, "-c", _LIMITED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (ExitCode.OUT_OF_MEMORY, "error: out of memory")
