"""Events of a megabyte."""

from __future__ import annotations

import json

from tests.chaos.scene import Act, Course, Scene, Step
from tests.chaos.traffic import EPOCH, Message

COUNT = 40
MEGABYTE = 1 << 20


def _event(number: int, now: float, size: int, **columns: str) -> Message:
    key = f"large-{number % 7}"
    event = {"session_id": key, "timestamp": EPOCH + now, "playerStateChange": "buffer", **columns}
    bare = len(json.dumps(event)) + len(', "filler": []')
    # What is no column of a metric may be of any form, and is not kept.
    filler = ["x" * 1_000] * ((size - bare) // 1_004)
    text = json.dumps({**event, "filler": filler})
    return Message(now, number, key, (text[:-1] + " " * (size - len(text)) + "}").encode())


def send(size: int, **columns: str) -> Step:
    """Send events of exactly ``size`` bytes."""

    async def inflict(course: Course) -> None:
        await course.send([_event(n, course.event_time, size, **columns) for n in range(COUNT)])

    return inflict


SCENE = Scene(
    name="large",
    about="events of a megabyte",
    acts=(
        Act("largest", f"{COUNT} events of exactly 1 MiB", send(MEGABYTE), hold=8),
        Act(
            "too-large",
            f"{COUNT} events of 1 MiB and a byte",
            send(MEGABYTE + 1),
            hold=8,
            lost="nothing: they are dead letters",
        ),
        Act(
            "long-string",
            f"{COUNT} events with a string of 64 KiB and a byte in a column",
            send(100_000, cdnChange="x" * ((64 << 10) + 1)),
            hold=8,
            lost="nothing: they are dead letters",
        ),
    ),
)
