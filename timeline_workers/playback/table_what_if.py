"""TableEvents: the events of a what-if channel over an event table of others; see ``what_if``.

Every row that has a key counts, as an event of its time with the members of its payload as columns: nothing
of a table is late or a duplicate. The rows of an instant are in the table's order.
"""

from __future__ import annotations

from typing import Final

from pydantic_core import to_json

from timeline_workers.event_tables.event_table import EventRow, Extent
from timeline_workers.events.times import EARLIEST, LATEST, from_microseconds
from timeline_workers.history.computed import Computed
from timeline_workers.history.model import Outcome, Position, StoredEvent
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.metric.model import Source

from .codes import DvrCode, RefusedRequest
from .requests import WhatIfChannel
from .table_channels import SharedTable, TableEnd

PAGE: Final = 10_000
# A table's own columns may have any name; no expression reads these.
_KEY, _TIME = "__key", "__time"
_SOURCE: Final = Source(topic="table", key=_KEY, time=_TIME, time_unit="iso")


class TableEvents:
    """The rows of a table for one channel; see ``WhatIfEvents``."""

    def __init__(self, shared: SharedTable, channel: WhatIfChannel) -> None:
        self._shared, self._channel = shared, channel
        self._end = TableEnd(shared.table, channel.keys, shared.settle)
        self._news = False
        self.seq = 0

    async def look(self, upto: int | None) -> Extent | None:
        """How far the table reaches; its end is looked at."""
        reach = await self._shared.reach(self._channel.keys)
        if reach is not None:
            await self._end.look(reach.last, upto)
            self._news |= bool(self._end.news())
        return reach

    async def compute(self) -> tuple[Computed, int]:
        """See ``WhatIfEvents``. Raises ExpressionError, and RefusedRequest for keys of an aggregate."""
        text, keys = self._channel.expression, self._channel.keys
        computed = Computed(parse(text), _SOURCE, text)
        if isinstance(computed.nodes[-1].expression, Aggregate) and keys is not None:
            raise RefusedRequest(
                DvrCode.BAD_MESSAGE,
                "an aggregate is over all keys; leave out keys of the channel",
                field="keys",
            )
        self._news = False  # before reading: what comes meanwhile is looked at again
        await self.look(None)
        start, place = EARLIEST, 0
        while start <= LATEST:
            start, rows = await self._shared.table.rows(start, LATEST + 1, keys=keys, limit=PAGE)
            computed.add([_event(row, place + i) for i, row in enumerate(rows) if row.key is not None])
            self._end.give(rows, start)
            place += len(rows)
        self.seq += 1
        return computed, self.seq

    async def are_new(self) -> bool:
        """See ``WhatIfEvents``: whether ``look`` has found any."""
        return self._news


def _event(row: EventRow, place: int) -> StoredEvent:
    said = {**row.payload, _KEY: row.key, _TIME: from_microseconds(row.time, "iso")}
    position = Position(0, 0, place)
    return StoredEvent(
        position, to_json(said), row.time, row.key, row.time, Outcome.ACCEPTED, "", "", False, 0
    )
