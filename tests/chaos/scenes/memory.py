"""Processes that may have little more memory than they have."""

from __future__ import annotations

from tests.chaos.scene import Act, Course, Scene, Step

MORE = 2 << 20


def limited(name: str) -> Step:
    """From now on the program gets hardly any more memory; once it is started again there is no limit."""

    async def inflict(course: Course) -> None:
        course.stack.programs[name].limit_memory(MORE)
        # Something that takes memory: everything at once.
        await course.burst(5_000)

    return inflict


SCENE = Scene(
    name="memory",
    about="RLIMIT_AS: processes get no more memory",
    acts=(
        Act("worker", "a worker process gets no more memory", limited("worker-0"), hold=25),
        Act("feeder", "the feeder gets no more memory", limited("feeder-0"), hold=25),
    ),
)
