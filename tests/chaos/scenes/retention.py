"""Closed runs deleted at once, as a namespace of short retention does to who was away."""

from __future__ import annotations

import asyncio
import json
import random

from tests.chaos.by_hand import delete_closed_runs
from tests.chaos.scene import Act, Course, Scene, SceneError
from tests.chaos.traffic import Message

# More than a run's input carries (448 KiB), and a kilobyte is the most that a key may have.
KEYS, KEY_LENGTH = 900, 900


async def many_bytes(course: Course) -> None:
    """Keys so long that states are carried in the history of the run that ended."""
    rng = random.Random(course.seed)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    now = course.event_time
    messages = []
    for number in range(KEYS):
        key = "".join(rng.choices(letters, k=KEY_LENGTH))
        event = {"session_id": key, "timestamp": now + 1_700_000_000, "playerStateChange": "buffer"}
        messages.append(Message(now, number, key, json.dumps(event).encode()))
    await course.send(messages)
    await course.until(lambda: course.watch.waiting < 5, "all of that is applied", 90)


async def delete_all_the_time(course: Course) -> None:
    """Closed runs are deleted as soon as they are there; workers begin runs, and their process is killed."""
    deleted = 0
    for second in range(20):
        if second in (3, 5, 10, 12):
            for worker in (course.leaf(), course.derived(), course.result()):
                await course.client.get_workflow_handle(worker).signal("continue_as_new")
        deleted += await delete_closed_runs(course.client)
        if second in (6, 13):
            await course.stack.kill("worker-0", 0.2)
        await asyncio.sleep(1)
    course.tell(f"    {deleted} closed runs deleted")


async def delete_before_it_is_fetched(course: Course) -> None:
    """A leaf begins a run, its processes are killed at once, and the run that has its state is deleted."""
    leaf = course.leaf()
    handle = course.client.get_workflow_handle(leaf)
    before = (await handle.describe()).run_id
    await handle.signal("continue_as_new")

    async def begun() -> bool:
        return (await handle.describe()).run_id != before

    await course.until(begun, "the leaf has begun another run")
    for worker in course.stack.workers:
        course.stack.away.add(worker.name)
        worker.kill()
    try:
        if not await delete_closed_runs(course.client):
            raise SceneError("no closed run was there to be deleted")
        await asyncio.sleep(2)
    finally:
        for worker in course.stack.workers:
            course.stack.away.discard(worker.name)
            await worker.up()


SCENE = Scene(
    name="retention",
    about="closed runs are deleted early",
    acts=(
        Act("always", "closed runs are deleted as soon as they end", delete_all_the_time, hold=2),
        Act(
            "fetching",
            "the run that holds a leaf's state is deleted before the next run has fetched it",
            delete_before_it_is_fetched,
        ),
    ),
    set_up=many_bytes,
    counts=False,
    hand_over=None,
)
