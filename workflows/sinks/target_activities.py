"""Activities of the catalog about targets: telling and ending their sinks, and a message that is a test."""

from __future__ import annotations

import time

from temporalio import activity

from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.sink_messages import SinkMessage
from timeline_workers.targets.sending import Answer, Parcel, send
from timeline_workers.targets.target import AnyTarget
from workflows.durable.activities import heartbeats, signal_worker, wait_until_ended

from .running_sinks import sinks_of


@activity.defn
async def tell_sinks(target: str) -> int:
    """Have the sinks of ``target`` look up its definition anew; how many there are."""
    async with heartbeats():
        client = activity.client()
        return sum([await signal_worker(client, one, "look_up") for one in await sinks_of(client, target)])


@activity.defn
async def end_sinks(target: str) -> int:
    """End the sinks of ``target``, and return how many there were when they have ended."""
    async with heartbeats():
        client = activity.client()
        sinks = await sinks_of(client, target)
        told = [one for one in sinks if await signal_worker(client, one, "stop", "its target was removed")]
        for one in told:
            await wait_until_ended(client, one)
        return len(told)


@activity.defn
async def send_test(target: AnyTarget) -> Answer:
    """Send ``target`` a message that says that it is a test."""
    now = time.time_ns() // 1000
    message = Message(
        kind="fire",
        rule="timeline-test",
        key="test",
        episode=f"timeline-test/test/{now}",
        seq=1,
        start=now,
        as_of=now,
        new=True,
    )
    text = f"Nothing has happened: `timeline outputs test {target.name}` sends this."
    told = SinkMessage(message, f"Test of the target {target.name}", text)
    [answer] = await send(target, f"test-{target.name}", [Parcel(now, told)])
    return answer


TARGET_ACTIVITIES = (tell_sinks, end_sinks, send_test)
