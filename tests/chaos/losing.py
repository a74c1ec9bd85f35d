"""Common parts of acts that delete messages: they say exactly which ones answers may lack."""

from __future__ import annotations

import asyncio
from time import monotonic

from tests.chaos.scene import Course, SceneError
from tests.chaos.stacks import TOPIC
from tests.chaos.stored import as_message, read_topic

UNREAD = 300


async def leave_unread(course: Course) -> None:
    """The feeder is stopped and stays away; then some messages are stored.

    Stopped, not killed: of the batch in hand only some leaves might have had their part, and the rest of it
    would be lost with the topic.
    """
    feeder = course.stack.feeders[0]
    course.stack.away.add(feeder.name)
    feeder.downs.append((monotonic(), None))
    await asyncio.to_thread(feeder.stop)
    await course.burst(UNREAD)


async def feeder_again(course: Course) -> None:
    """The feeder is started again."""
    feeder = course.stack.feeders[0]
    course.stack.away.discard(feeder.name)
    await feeder.up()


async def keep(course: Course) -> None:
    """Silence the stream, and remember what is in the topic: everything that it has sent."""
    await course.pause(course.streams[0])
    now = len(course.watch.recreated)
    found = await asyncio.to_thread(read_topic, course.stack.pulsar_url, TOPIC, lambda _: None)
    for place, message in found.items():
        where = place.in_incarnation(now)
        course.kept[where] = as_message(where, message)


async def are_gone(course: Course) -> None:
    """Of all that is remembered, answers may lack what no worker has: it is gone."""
    begun = course.watch.facts[-1].at
    await course.until(lambda: course.watch.facts[-1].at > begun + 2, "workers have been asked")
    course.lost |= {place for place in course.kept if not course.watch.has_applied(place)}
    course.tell(f"    {len(course.kept)} messages were there, {len(course.lost)} of them unread")
    if not course.lost:
        raise SceneError("no unread message was there to be lost")
    course.resume(course.streams[0])
