"""``Tee``: whoever hears of everything that a topic's feeder makes of messages, as the history does.

The feeder offers what it has routed, before it is delivered, and says when it has been. It acknowledges what
has been delivered and *kept*; where the tee lacks something it acknowledges nothing, so that the source keeps
it. It never waits for a tee that does not answer. What ends a tee's work is raised by ``room``, ``done`` and
``close``, as everybody else waits for nothing: the topic is fed anew then, with another tee.
``NoTee`` keeps nothing, and costs nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from feeder.delivery.fed_group import MetricGroupFeed
from feeder.routing.router import MetricGroup, Routed
from feeder.source.partitioned_source import PartitionedSource, SourceMessage
from timeline_workers.errors import HistoryError

from .stored_past import Past


@dataclass(slots=True, eq=False)
class Offered:
    """A batch that was offered, of these ``partitions``. ``kept``: the tee needs it no more; ``delivered``:
    the leaves have been sent it.
    """

    batch: Sequence[SourceMessage]
    partitions: Collection[int]
    kept: bool = False
    delivered: bool = False


class Tee(Protocol):
    """Hears of one topic, from one feeder. ``close`` it."""

    @property
    def past(self) -> Past:
        """What can be read again of the source."""

    async def go_on(self, fed: MetricGroupFeed) -> None:
        """Between two batches, and when partitions were taken up: go on with a group where it is."""

    async def keep_to(self, feds: Collection[MetricGroupFeed]) -> None:
        """Know only these groups."""

    def offer(
        self,
        routed: Iterable[tuple[MetricGroup, Routed]],
        batch: Sequence[SourceMessage] = (),
        partitions: Collection[int] = (),
    ) -> Offered:
        """Take what was made of messages by each group; ``batch``: all that was received with them, of these
        partitions, which comes out of ``done`` once it is kept and delivered.
        """

    async def room(self) -> None:
        """Return when more may be offered: at once where the tee does not answer."""

    def done(self) -> Iterator[Offered]:
        """What is kept and delivered, in the order in which it was offered, and no more is known of it."""

    def lacks(self) -> bool:
        """Whether it lacks something that the source must still hold for it."""

    async def drain(self) -> None:
        """Return when all that was offered is kept, or when that is not to be expected soon."""

    async def close(self) -> None:
        """Stop, whatever is not kept yet. Raises only what has ended its work before."""


class NoTee:
    """Keeps nothing (see ``Tee``)."""

    def __init__(self, source: PartitionedSource) -> None:
        self.past: Past = source
        self._offered: deque[Offered] = deque()

    async def go_on(self, fed: MetricGroupFeed) -> None:
        """Nothing to do."""

    async def keep_to(self, feds: Collection[MetricGroupFeed]) -> None:
        """Nothing to do."""

    def offer(
        self,
        routed: Iterable[tuple[MetricGroup, Routed]],
        batch: Sequence[SourceMessage] = (),
        partitions: Collection[int] = (),
    ) -> Offered:
        """See ``Tee``: it is kept at once."""
        offered = Offered(batch, partitions, kept=True)
        if partitions:
            self._offered.append(offered)
        return offered

    async def room(self) -> None:
        """At once."""

    def done(self) -> Iterator[Offered]:
        """See ``Tee``."""
        yield from in_order(self._offered)

    def lacks(self) -> bool:
        """Nothing."""
        return False

    async def drain(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""


def in_order(offered: deque[Offered]) -> Iterator[Offered]:
    """Take from the left what is kept and delivered."""
    while offered and offered[0].kept and offered[0].delivered:
        yield offered.popleft()


def still_runs(task: asyncio.Task[None], what: str) -> None:
    """Raise what has ended ``task``, which does ``what`` behind everybody's back, and is not to end."""
    if not task.done():
        return
    if not task.cancelled():
        task.result()
    raise HistoryError(f"{what} has ended, and nothing does it any more", may_pass=True)
