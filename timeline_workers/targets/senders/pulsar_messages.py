"""A topic of Pulsar: the message as a CloudEvent, under its key.

The producer is named after the sink, and the sequence id is the number that the sink has recorded before it
sends: of a batch that is sent again after a crash, a broker that deduplicates stores each message once.
Without that, ``episode`` and ``seq`` among the properties tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from timeline_workers.alerts.episodes import key_text
from timeline_workers.servers.pulsar import changelog_topic
from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, Send
from timeline_workers.targets.target import PulsarTarget
from timeline_workers.wire.changelog_messages import ToPublish


@asynccontextmanager
async def opened(target: PulsarTarget, sink: str, secrets: Secrets) -> AsyncIterator[Send]:
    """See ``sending.Send``."""

    async def send(parcels: Sequence[Parcel]) -> list[Answer]:
        await asyncio.to_thread(changelog_topic.publish, target.topic, sink, map(_message, parcels))
        return [Answer(verdict="taken", why=f"stored in {target.topic}")] * len(parcels)

    yield send


def _message(parcel: Parcel) -> ToPublish:
    message = parcel.told.message
    about = {
        "rule": message.rule,
        "episode": message.episode,
        "seq": str(message.seq),
        "kind": message.kind,
    }
    return ToPublish(key_text(message.key), parcel.number, msgspec.json.encode(parcel.event), about)
