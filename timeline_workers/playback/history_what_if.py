"""HistoryEvents: the events of a what-if channel over a history store; see ``what_if``."""

from __future__ import annotations

from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history import model as history
from timeline_workers.history.computed import Computed, compute
from timeline_workers.history.store import HistoryStore
from timeline_workers.metric.model import Source

from .requests import WhatIfChannel


class HistoryEvents:
    """The events that a source ``definition`` accepts, as of a system time; see ``WhatIfEvents``.
    ``accepted_only``: also where the expression is not the one that the definition was made for.
    """

    def __init__(
        self,
        store: HistoryStore,
        channel: WhatIfChannel,
        source: Source,
        definition: str,
        as_of: int | None,
        accepted_only: bool = False,
    ) -> None:
        self._store, self._channel, self._source = store, channel, source
        self._definition, self._as_of = definition, as_of
        self._accepted_only = accepted_only
        self._seen = 0

    async def compute(self) -> tuple[Computed, int]:
        """See ``WhatIfEvents``. Raises what ``history.computed.compute`` raises."""
        reach = await self._store.reach(self._definition)  # before: what comes meanwhile is looked at again
        computed = await compute(
            self._store,
            self._channel.expression,
            self._source,
            keys=self._channel.keys,
            as_of=self._as_of,
            like=self._definition,
            accepted_only=self._accepted_only,
        )
        self._seen = 0 if reach is None else reach.seen
        return computed, self._seen

    async def are_new(self) -> bool:
        """See ``WhatIfEvents``: whether the store was told a verdict since."""
        if self._as_of is not None:
            return False
        reach = await self._store.reach(self._definition)
        if reach is None or reach.seen <= self._seen:
            return False
        floor = EARLIEST if reach.kept_from is None else reach.kept_from
        new = await self._store.events(
            self._definition,
            floor,
            LATEST + 1,
            keys=self._channel.keys,
            outcomes=frozenset(history.Outcome),
            seen_after=self._seen,
            limit=1,
        )
        if not new:
            self._seen = reach.seen
        return bool(new)
