"""``HistoryLook``: how the history store is, and what of topics it lacks, or lacks as yet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from timeline_workers.errors import NoHistoryError, TimelineError
from timeline_workers.events.times import from_microseconds
from timeline_workers.history.model import Followed, Gap, definition_of
from timeline_workers.history.open import open_history
from timeline_workers.metric.model import Metric
from timeline_workers.plan.reading import reading_of
from timeline_workers.process.counted import counted
from timeline_workers.servers.embedded.history_address import history_address
from timeline_workers.settings.history_settings import shown_address

from .condition import Notice
from .statuses import progress_of

if TYPE_CHECKING:
    from .look import Applied, Look

HISTORY_SECONDS = 5.0
# What is fed is stored some moments later.
BEHIND_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HistoryLook:
    """The history ``store``, for people. ``down``: why it does not answer, None where it does; ``gaps``: what
    it lacks, by topic; ``followed``: how far topics are stored, by source definition; ``seen``: when
    something was stored last, microseconds.
    """

    store: str
    down: str | None = None
    gaps: Mapping[str, list[Gap]] = field(default_factory=dict)
    followed: Mapping[str, Mapping[int, Followed]] = field(default_factory=dict)
    seen: int = 0


async def look_at_history(metrics: Iterable[Metric]) -> HistoryLook | None:
    """Look at the history of what ``metrics`` read; None where there is none. Takes some seconds at most."""
    sources = {definition_of(reading_of(metric)): metric.source.topic for metric in metrics}
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
                return HistoryLook(
                    shown,
                    gaps={topic: await store.gaps(topic) for topic in set(sources.values())},
                    followed={name: await store.followed(name) for name in sources},
                    seen=(await store.contents()).seen,
                )
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
    yield from _behind(look, applied, history)
    gaps = history.gaps.get(topic, [])
    if gaps:
        last = gaps[-1]
        since = "" if last.since is None else f" from {from_microseconds(last.since, 'iso')} on"
        until = ", without end" if last.until is None else f" before {from_microseconds(last.until, 'iso')}"
        yield Notice(
            f"the history of topic {topic} has {counted(len(gaps), 'gap')}, the last with "
            f"event times{since}{until}: {last.why}"
        )


def _behind(look: Look, applied: Applied, history: HistoryLook) -> Iterator[Notice]:
    """Whether something was fed that is not stored, and not because it was fed just now."""
    followed = history.followed.get(definition_of(reading_of(applied.metric)))
    if followed is None:
        return
    lacking, lag = set(), 0
    for at in (one for health in applied.workers for one in progress_of(health)):
        stored = followed.get(at.partition)
        if stored is None or (at.major, at.minor) > stored[:2]:
            lacking.add(at.partition)
            marks = (at.watermark, None if stored is None else stored.watermark)
            if marks[0] is not None and marks[1] is not None:
                lag = max(lag, marks[0] - marks[1])
    silent = look.now - history.seen / 1e6 > BEHIND_SECONDS
    if lacking and (silent or lag > BEHIND_SECONDS * 1e6):
        last = from_microseconds(history.seen, "iso") if history.seen else "never"
        by = f", by {lag / 1e6:,.0f} s of event time" if lag else ""
        yield Notice(
            f"the history of topic {applied.metric.source.topic} is behind in "
            f"{counted(len(lacking), 'partition')}{by}: what was fed last is not stored yet and "
            f"cannot be seen in it; something was stored last {last}"
        )
