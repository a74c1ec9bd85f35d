"""``Following``: how far the history follows a topic for one source definition, as one feeder knows it.

What is offered goes on from there, or is not taken: then the history is behind, and catches up by reading the
past, as a leaf does that was away. So a feeder that is killed, a partition that has moved and a store that
was away are all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from feeder.message_batch import offset_of, partitions_of, shown
from feeder.positions import SILENT, Offset, Reached
from feeder.recovery.replay import Replay
from feeder.routing.router import Routed, Router
from timeline_workers.events.incarnation import incarnation_of
from timeline_workers.history.model import Followed, Gap
from timeline_workers.metric.model import Source

from .verdict_rows import Share


@dataclass(slots=True)
class CatchUp:
    """The past of some ``partitions`` on its way into the history, judged by ``router``. ``stored``: so many
    messages of it are; ``fed``: so many more have been fed meanwhile; ``joins``: the feeding waits for it.
    """

    replay: Replay
    router: Router
    partitions: frozenset[int]
    stored: int = 0
    fed: int = 0
    joins: bool = False

    def falls_back(self, allowed: int) -> bool:
        """Whether it would never get there, as more is fed than it catches up with (but ``allowed``)."""
        return self.fed > self.stored // 2 + allowed and not self.replay.stopped


@dataclass(slots=True)
class Following:
    """``definition``: its name; ``places``: how far each partition is stored, or on its way to the store,
    None where that is not known; ``told``: what the store has said of it last.
    """

    definition: str
    places: dict[int, Offset] | None = None
    told: Mapping[int, Followed] = field(default_factory=dict)
    marks: dict[int, int | None] = field(default_factory=dict)
    """The watermarks that are stored, or on their way to the store."""
    fresh: bool = False
    """Whether ``places`` are what the store has said."""
    asking: asyncio.Task[Mapping[int, Followed]] | None = None
    catching_up: CatchUp | None = None
    behind: bool = False
    """Whether something is not taken that was fed."""
    again: float = 0.0
    """When to try again to read the past."""

    @property
    def lacks(self) -> bool:
        """Whether the source must keep what it has."""
        return self.behind or self.places is None or self.catching_up is not None

    @property
    def hurries(self) -> bool:
        """Whether the feeding waits for what is stored of its past."""
        return self.catching_up is not None and self.catching_up.joins

    def take(self, told: Mapping[int, Followed]) -> None:
        """Know how far the store is."""
        self.told, self.fresh = told, True
        self.places = {p: Offset(at.major, at.minor) for p, at in told.items()}

    def lose(self) -> None:
        """Know nothing any more: what was on its way is not."""
        self.places, self.fresh, self.behind = None, False, True

    def short_of(self, reached: Mapping[int, Reached]) -> frozenset[int]:
        """The partitions that are fed further than they are stored."""
        places = self.places or {}
        return frozenset(p for p, at in reached.items() if places.get(p, SILENT.offset) < at.offset)

    def share(self, routed: Routed) -> Share | None:
        """What of ``routed`` is new; None where something before it is missing."""
        if self.places is None:
            return None
        decided = routed.decided
        position = decided.messages.position
        keep = np.ones(len(decided.messages), np.bool_)
        for partition in partitions_of(position):
            place = self.places.get(partition, SILENT.offset)
            began = decided.began.get(partition, SILENT).offset
            if place < began:
                return None
            if place > began:
                beyond = (position.major > place.major) | (
                    (position.major == place.major) & (position.minor > place.minor)
                )
                keep &= (position.partition != partition) | beyond
        return share_of(self.definition, routed, np.flatnonzero(keep))

    def goes_on(self, share: Share) -> None:
        """Note that ``share`` is on its way to the store."""
        assert self.places is not None
        self.fresh = False
        for partition, at in share.followed.items():
            self.places[partition] = max(
                Offset(at.major, at.minor), self.places.get(partition, SILENT.offset)
            )

    async def close(self) -> None:
        """Stop whatever is under way."""
        if self.asking is not None:
            self.asking.cancel()
            await asyncio.wait([self.asking])
            self.asking = None
        if self.catching_up is not None:
            replay, self.catching_up = self.catching_up.replay, None
            await replay.close()


def share_of(definition: str, routed: Routed, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Share:
    """These rows of what was routed, which brings the partitions that it has messages of where it ends."""
    there = set(partitions_of(routed.decided.messages.position))
    ends = {
        p.partition: Followed(p.major, p.minor, p.watermark) for p in routed.progress if p.partition in there
    }
    return Share(definition, routed, rows, ends)


def holes(routed: Routed, source: Source) -> list[Gap]:
    """Where messages may be missing between what was followed before and what comes now, as nothing that was
    read lies between.
    """
    decided, found = routed.decided, []
    position = decided.messages.begin or decided.messages.position
    for partition in partitions_of(position):
        began = decided.began.get(partition, SILENT)
        row = int(np.flatnonzero(position.partition == partition)[0])
        first = offset_of(position, row)
        after = began.offset
        same_topic = incarnation_of(first.major) == incarnation_of(after.major)
        if after == SILENT.offset or (same_topic and (after.is_next(first) or first <= after)):
            continue
        published = int(decided.messages.published[row])
        found.append(
            Gap(
                source.topic,
                began.watermark,  # what lay below it was late
                published + source.clock_skew + 1 if published > 0 else None,
                f"partition {partition}: nothing could be read between {shown(after)} and {shown(first)}",
            )
        )
    return found
