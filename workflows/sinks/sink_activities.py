"""Activities of sinks: what reaches targets, and the dead letters of what does not.

Secrets are resolved here, and nowhere else: what the activities are given and what they answer goes into
histories.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
from temporalio import activity
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.alerts.delivery_queue import GivenUp
from timeline_workers.alerts.episodes import key_text
from timeline_workers.metric.topics import dead_letter_topic
from timeline_workers.targets.letters import Unsent, letters_topic
from timeline_workers.targets.sending import Answer, send, unpack_parcels
from timeline_workers.targets.target import AnyTarget, read_target
from timeline_workers.wire.changelog_messages import ToPublish
from workflows.durable.activities import heartbeats
from workflows.messages import CATALOG_ID

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
_REASON_LENGTH = 1000


@activity.defn
async def find_target(name: str) -> list[AnyTarget]:
    """The target ``name`` as the catalog has it; none where there is no such."""
    try:
        found = await activity.client().get_workflow_handle(CATALOG_ID).query("targets")
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    return [read_target(one) for one in found if one["name"] == name]


@activity.defn
async def send_messages(target: AnyTarget, sink: str, packed: bytes) -> list[Answer]:
    """Send parcels, packed (``targets.sending``); what the target answers to each."""
    async with heartbeats():
        return await send(target, sink, unpack_parcels(packed))


@activity.defn
async def keep_letters(sink: str, target: str, first: int, packed: bytes) -> None:
    """Store messages that were given up, packed, as dead letters of ``target``; ``first``: the number of the
    first of them.
    """
    async with heartbeats():
        given_up = msgspec.msgpack.decode(packed, type=list[GivenUp])
        await asyncio.to_thread(_keep, sink, target, first, given_up)


def _keep(sink: str, target: str, first: int, given_up: list[GivenUp]) -> None:
    # Not with the module: it needs the broker's client library, which other workers do without.
    from timeline_workers.servers.pulsar import changelog_topic

    topic = letters_topic(target)
    letters = [
        ToPublish(
            key_text(one.told.message.key),
            number,
            msgspec.json.encode(Unsent(sink, one.told)),
            {
                "reason": "given-up",
                "message": one.reason[:_REASON_LENGTH],
                "topic": topic,
                "partition": "0",
                "position": f"{number}:0:0",
                "metrics": one.told.message.rule,
            },
        )
        for number, one in enumerate(given_up, first)
    ]
    changelog_topic.publish(dead_letter_topic(topic), f"{sink}-letters", letters)


SINK_ACTIVITIES = (find_target, send_messages, keep_letters)
