"""Long runs, questions all the time, and kills: what a query makes of a run must not stay."""

from __future__ import annotations

import asyncio

from tests.chaos.scene import Act, Course, Scene
from timeline_workers.plan.physical import all_workers
from timeline_workers.servers.embedded import embedded_servers

PAUSE = 0.2


async def kills(course: Course) -> None:
    """A worker process is killed every 16 s, while everybody is asked with `temporal workflow query`, too."""
    asking = asyncio.create_task(_ask_all(course))
    try:
        for turn in range(4):
            await asyncio.sleep(16)
            await course.stack.kill(f"worker-{turn % 2}", 0.5)
    finally:
        asking.cancel()


async def _ask_all(course: Course) -> None:
    binary = embedded_servers._temporal_binary()
    workers = sorted({spec.worker_id for planned in course.plans for spec in all_workers(planned)})
    address = course.stack.environment["TEMPORAL_ADDRESS"]
    while True:
        for worker in workers:
            process = await asyncio.create_subprocess_exec(
                *(binary, "workflow", "query", "--workflow-id", worker, "--type", "status"),
                *("--address", address),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                await process.wait()
                await asyncio.sleep(PAUSE)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


SCENE = Scene(
    name="queries",
    about="runs without end, a question to every worker each second, and `temporal workflow query` in a loop",
    acts=(Act("kills", "a worker process is killed every 16 s, four times", kills, hold=15),),
    hand_over=None,
    everybody=True,
)
