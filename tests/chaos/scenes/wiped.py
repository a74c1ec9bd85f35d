"""The embedded broker loses its data while everything else goes on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
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
    await asyncio.to_thread(_delete, course.stack.directory / "pulsar")
    course.watch.recreated.append(monotonic())
    await are_gone(course)
    course.stack.away.discard(broker.name)
    await broker.up()


def _delete(broker: Path) -> None:
    for data in broker.glob("data*"):
        if data.is_dir():
            shutil.rmtree(data)
        else:
            data.unlink()


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
            lost="the unread messages that were deleted, and all dead letters",
            hold=5,
            ends=frozenset({"gap"}),
        ),
    ),
    counts=False,
    letters_stay=False,
)
