"""SIGSTOP of every process for longer than its time-outs, then SIGCONT: it knows nothing of it."""

from __future__ import annotations

import asyncio

from tests.chaos.scene import Act, Course, Scene, Step


def stop(*names: str, seconds: float) -> Step:
    """Stop the programs for so long."""

    async def inflict(course: Course) -> None:
        programs = [course.stack.programs[name] for name in names]
        try:
            for program in programs:
                program.freeze()
            await asyncio.sleep(seconds)
        finally:
            for program in programs:
                program.thaw()

    return inflict


SCENE = Scene(
    name="stop",
    about="SIGSTOP and SIGCONT of every process, stopped for longer than its time-outs",
    acts=(
        Act("worker", "one of two worker processes hangs for 25 s", stop("worker-0", seconds=25), hold=2),
        Act(
            "workers", "all worker processes hang for 25 s", stop("worker-0", "worker-1", seconds=25), hold=2
        ),
        Act("feeder", "the feeder hangs for 25 s", stop("feeder-0", seconds=25), hold=2),
        Act("broker", "the broker hangs for 40 s", stop("broker", seconds=40), hold=2),
        Act("temporal", "Temporal hangs for 25 s", stop("temporal", seconds=25), hold=2),
    ),
)
