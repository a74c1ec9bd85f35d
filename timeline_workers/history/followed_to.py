"""The place up to which the history follows a topic, in the time of those who publish.

A store that is new, or was away, is behind while the feeder reads the past for it, and until then nothing is
acknowledged; this is how far that is.
"""

from __future__ import annotations

from collections.abc import Mapping

from .model import Status
from .store import HistoryStore


async def followed_to(store: HistoryStore, topic: str, definition: str) -> Mapping[int, int]:
    """When the last message of each partition was published that is followed by a definition, microseconds;
    partitions of which that is not known are left out.
    """
    found: dict[int, int] = {}
    for partition, at in (await store.followed(definition)).items():
        last = await store.raw_events(topic, partition, after=(at.major, at.minor - 1), limit=1)
        if last and last[0].position[1:] == (at.major, at.minor) and last[0].published:
            found[partition] = last[0].published
    return found


async def least_followed(store: HistoryStore, status: Status) -> dict[str, int]:
    """Of each definition in ``status`` the least of these times."""
    found = {}
    for one in status.definitions:
        if told := await followed_to(store, one.topic, one.definition):
            found[one.definition] = min(told.values())
    return found
