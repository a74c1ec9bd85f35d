"""kill -9 of everything that the history goes through, over a SQLite file that all programs write."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.chaos.recording import hold_write_lock
from tests.chaos.scene import Act, Course, Scene
from tests.chaos.scenes.history import SERVERS, WRITERS, count_stamps, every_node, remember

LOCKED_SECONDS = 15.0


async def lock(course: Course) -> None:
    """Another process writes to the file, for long, and is killed."""
    assert course.recorded is not None
    file = Path(course.recorded.address.partition(":")[2])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", hold_write_lock(file, 3600), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"held\n"
        await asyncio.sleep(LOCKED_SECONDS)
    finally:
        process.kill()
        await process.wait()


SCENE = Scene(
    name="history-sqlite",
    about="kill -9 of all that writes the history to a SQLite file, one after the other",
    acts=(
        Act(
            "locked",
            "another process holds the file's write lock for 15 s, and is killed",
            lock,
            remember,
            hold=0,
        ),
        *WRITERS,
        *SERVERS,
    ),
    rate=40.0,
    metrics=every_node,
    history="sqlite",
    set_up=count_stamps,
)
