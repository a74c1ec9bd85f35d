"""Topics that change under load, on real Pulsar: more partitions, trimmed before they are read, made anew."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from deploy.pulsar_standalone import Broker, BrokerError
from tests.chaos.losing import are_gone, feeder_again, keep, leave_unread
from tests.chaos.scene import Act, Course, Scene, SceneError
from tests.chaos.stacks import TOPIC, RealBroker

PATH = f"persistent/public/default/{TOPIC}"
RETENTION = "namespaces/public/default/retention"
MORE = 2


def broker_of(course: Course) -> Broker:
    """The broker with its admin API."""
    broker = course.stack.programs["broker"]
    if not isinstance(broker, RealBroker):
        raise SceneError("this scene needs real Pulsar")
    return broker.broker


async def more_partitions(course: Course) -> None:
    """The topic gets two partitions more; a producer that is new sees them at once."""
    course.partitions = course.stack.partitions + MORE
    await asyncio.to_thread(broker_of(course).admin, "POST", f"{PATH}/partitions", course.partitions)
    await course.burst(500)


async def trim(course: Course) -> None:
    """While the feeder is away, unread messages are skipped by an administrator, and deleted."""
    await leave_unread(course)
    await keep(course)
    await asyncio.to_thread(_trim, broker_of(course), course.partitions)
    await are_gone(course)


def _trim(broker: Broker, partitions: int) -> None:
    broker.admin("POST", RETENTION, {"retentionTimeInMinutes": 0, "retentionSizeInMB": 0})
    try:
        for partition in range(partitions):
            path = f"{PATH}-partition-{partition}"
            for subscription in broker.admin("GET", f"{path}/subscriptions"):
                broker.admin("POST", f"{path}/subscription/{subscription}/skip_all")
            broker.admin("PUT", f"{path}/unload")
            broker.admin("POST", f"{path}/trim")
    finally:
        broker.admin("DELETE", RETENTION)


async def delete(course: Course) -> None:
    """The topic is deleted with unread messages, and made again."""
    await leave_unread(course)
    await keep(course)
    broker = broker_of(course)
    await asyncio.to_thread(broker.admin, "DELETE", f"{PATH}/partitions?force=true")
    with suppress(BrokerError):  # a client library may have been quicker
        await asyncio.to_thread(broker.create_topic, TOPIC, course.partitions)
    await are_gone(course)


SCENE = Scene(
    name="topic",
    about="a topic of real Pulsar changes under load",
    acts=(
        Act("partitions", f"the topic gets {MORE} partitions more", more_partitions, hold=20),
        Act(
            "trimmed",
            "unread messages are skipped and deleted while the feeder is away",
            trim,
            feeder_again,
            operator="start the feeder; send again what is missing",
            lost="the unread messages that were deleted",
            hold=5,
            ends=frozenset({"gap"}),
        ),
        Act(
            "deleted",
            "the topic is deleted with unread messages, and made again",
            delete,
            feeder_again,
            operator="start the feeder; send again what is missing",
            lost="the unread messages that were deleted",
            hold=5,
            ends=frozenset({"gap"}),
        ),
    ),
    stack="pulsar",
    counts=False,
    hand_over=200,
)
