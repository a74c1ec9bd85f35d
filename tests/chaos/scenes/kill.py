"""kill -9 of every process."""

from __future__ import annotations

from tests.chaos.scene import Act, Course, Scene, Step


def kill(name: str, away: float) -> Step:
    """Kill the program and bring it back after ``away`` seconds."""

    async def inflict(course: Course) -> None:
        await course.stack.kill(name, away)

    return inflict


async def kill_workers(course: Course) -> None:
    """Kill all worker processes; they stay away."""
    for worker in course.stack.workers:
        course.stack.away.add(worker.name)
        worker.kill()


async def start_workers(course: Course) -> None:
    """What was killed is started again."""
    for worker in course.stack.workers:
        course.stack.away.discard(worker.name)
        await worker.up()


SCENE = Scene(
    name="kill",
    about="kill -9 of every process",
    acts=(
        Act("worker", "one of two worker processes is killed and back after 1 s", kill("worker-0", 1)),
        Act(
            "workers",
            "all worker processes are killed and stay away",
            kill_workers,
            start_workers,
            operator="start worker processes again",
            hold=20,
        ),
        Act("feeder", "the feeder is killed and stays away for 15 s", kill("feeder-0", 15), hold=0),
        Act("broker", "the broker is killed and stays away for 15 s", kill("broker", 15), hold=0),
        Act("temporal", "Temporal is killed and stays away for 15 s", kill("temporal", 15), hold=0),
    ),
)
