"""``HistoryLook``: how the history store is, and what of topics it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from timeline_workers.errors import NoHistoryError, TimelineError
from timeline_workers.events.times import from_microseconds
from timeline_workers.history.model import Gap
from timeline_workers.history.open import open_history
from timeline_workers.process.counted import counted
from timeline_workers.servers.embedded.history_address import history_address
from timeline_workers.settings.history_settings import shown_address

from .condition import Notice

if TYPE_CHECKING:
    from .look import Applied, Look

HISTORY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class HistoryLook:
    """The history ``store``, for people. ``down``: why it does not answer, None where it does; ``gaps``: what
    it lacks, by topic.
    """

    store: str
    down: str | None = None
    gaps: Mapping[str, list[Gap]] = field(default_factory=dict)


async def look_at_history(topics: Iterable[str]) -> HistoryLook | None:
    """Look at the history of ``topics``; None where there is none. Takes some seconds at most."""
    try:
        address = history_address()
    except TimelineError as error:
        return HistoryLook("the history", str(error))
    if address is None:
        return None
    shown = shown_address(address)
    try:
        async with asyncio.timeout(HISTORY_SECONDS):
            store = await open_history(address, create=False)
            try:
                return HistoryLook(shown, gaps={topic: await store.gaps(topic) for topic in set(topics)})
            finally:
                await store.close()
    except NoHistoryError:
        return HistoryLook(shown)  # the feeder makes it with the first event
    except TimeoutError:
        return HistoryLook(shown, f"it did not answer within {HISTORY_SECONDS:g} s")
    except TimelineError as error:
        return HistoryLook(shown, str(error))


def check(look: Look, applied: Applied) -> Iterator[Notice]:
    """Whether the history has all that was fed: answers do not depend on it."""
    metric, history = applied.metric, look.history
    if history is None or (metric.history is not None and not metric.history.events):
        return
    topic = metric.source.topic
    if history.down is not None:
        yield Notice(
            f"the history store at {history.store} does not answer: {history.down}. What is fed stays in the "
            "broker for it, up to TIMELINE_HISTORY_PATIENCE"
        )
    gaps = history.gaps.get(topic, [])
    if gaps:
        last = gaps[-1]
        since = "" if last.since is None else f" from {from_microseconds(last.since, 'iso')} on"
        until = ", without end" if last.until is None else f" before {from_microseconds(last.until, 'iso')}"
        yield Notice(
            f"the history of topic {topic} has {counted(len(gaps), 'gap')}, the last with "
            f"event times{since}{until}: {last.why}"
        )
