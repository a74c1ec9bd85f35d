"""The embedded broker loses its data while everything else goes on."""

from __future__ import annotations

import asyncio
import shutil
from time import monotonic

from tests.chaos.losing import are_gone, feeder_again, keep, leave_unread
from tests.chaos.scene import Act, Course, Scene


async def wipe(course: Course) -> None:
    """With messages that nobody has read."""
    await leave_unread(course)
    await keep(course)
    broker = course.stack.programs["broker"]
    course.stack.away.add(broker.name)
    broker.kill()
    for data in (course.stack.directory / "pulsar").glob("data*"):
        await asyncio.to_thread(shutil.rmtree, data)
    course.watch.recreated.append(monotonic())
    await are_gone(course)
    course.stack.away.discard(broker.name)
    await broker.up()


SCENE = Scene(
    name="wiped",
    about="the embedded broker's data are deleted",
    acts=(
        Act(
            "unread",
            "the broker's data are deleted with unread messages, and the topic begins again",
            wipe,
            feeder_again,
            operator="start the feeder; send again what is missing",
            lost="the unread messages that were deleted",
            hold=5,
            ends=frozenset({"gap"}),
        ),
    ),
    counts=False,
)
