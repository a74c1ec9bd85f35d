"""TablesRecording: the player's recording over event tables of others, beside another recording or alone.

A channel of events whose name is that of a declared table plays its rows, a what-if channel that is ``like``
one is computed from them; every other channel is the other recording's. Tables know no system time: with
``as_of``, the system axis or the final edge their channels are refused.

``seq`` is one number for both: that of the other recording, then, in the lower ``_BITS``, how often something
new was found in a table. What is new there is told as of the look that found it; a session's readers know
what they have given, so that nothing is told twice (see ``table_channels``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from timeline_workers.event_tables.event_table import Extent
from timeline_workers.event_tables.open_table import OpenTables
from timeline_workers.events.times import LATEST

from .codes import DvrCode, RefusedRequest
from .items import OpenedChannel, Record, Revision, View
from .reads import LookAnswer
from .recording import ChannelReader, Recording
from .requests import Channel, EventsChannel, WhatIfChannel
from .table_channels import SharedTable, TableEventsReader, records
from .table_what_if import TableEvents
from .what_if import WhatIfReader

_BITS: Final = 40


class TableWhatIfReader(WhatIfReader):
    """A what-if channel over a table."""

    def __init__(self, channel: WhatIfChannel, events: TableEvents) -> None:
        super().__init__(channel, channel.like, events)
        self._rows = events

    async def look(self, upto: int | None) -> Extent | None:
        """How far the table reaches; its end is looked at."""
        return await self._rows.look(upto)

    async def revised(self, upto: int) -> list[Revision]:
        """What is other by now, up to ``upto``."""
        return await self.revised_after(self._rows.seq, upto)


_OfTable = TableEventsReader | TableWhatIfReader


class TablesRecording:
    """See the module. One serves all sessions of a process; ``beside`` None: there are only tables."""

    def __init__(self, tables: OpenTables, beside: Recording | None = None) -> None:
        self.tables, self._beside = tables, beside
        self._shared: dict[str, SharedTable] = {}
        self._found = 0  # how often something new was found in a table

    async def open(self, channel: Channel, view: View) -> ChannelReader:
        """See ``Recording``."""
        name = channel.events if isinstance(channel, EventsChannel) else getattr(channel, "like", None)
        if name not in self.tables and self._beside is not None:
            return await self._beside.open(channel, view)
        if not isinstance(channel, EventsChannel | WhatIfChannel):
            raise RefusedRequest(
                DvrCode.BAD_MESSAGE, "this recording has event tables only; open events, or an expression"
            )
        for field, is_asked in (
            ("as_of", view.as_of is not None),
            ("axis", view.axis == "system"),
            ("edge", view.edge == "final"),
        ):
            if is_asked:
                raise RefusedRequest(
                    DvrCode.BAD_MESSAGE,
                    f"{field}: the table {name!r} does not say when its rows were stored, or which are final",
                    field=field,
                )
        shared = await self._table(str(name))
        if shared.table.needs_keys and channel.keys is None:
            raise RefusedRequest(
                DvrCode.BAD_MESSAGE,
                f"the rows of table {name!r} can be asked for by key only; name keys of the channel",
                field="keys",
            )
        keys = None if channel.keys is None else list(channel.keys)
        if isinstance(channel, WhatIfChannel):
            return await TableWhatIfReader(channel, TableEvents(shared, channel)).open(None)
        info = OpenedChannel(channel.channel, "events", (), None if keys is None else len(keys))
        return await TableEventsReader(shared, keys, info).open()

    async def _table(self, name: str) -> SharedTable:
        table = await self.tables.table(name)
        if name not in self._shared or self._shared[name].table is not table:
            declared = self.tables.declarations[name]
            self._shared[name] = SharedTable(table, declared.settle, declared.seconds_to_look)
        return self._shared[name]

    async def seq(self) -> int:
        """See ``Recording``."""
        beside = 0 if self._beside is None else await self._beside.seq()
        return self._seq(beside)

    def _seq(self, beside: int) -> int:
        return (beside << _BITS) + self._found

    async def look(
        self, readers: Sequence[ChannelReader], view: View, since: int | None, upto: int | None
    ) -> LookAnswer:
        """See ``Recording``."""
        mine = [one for one in readers if isinstance(one, _OfTable)]
        # The tables first: whatever is read of them between this and the answer has what is found here.
        reaches = [await one.look(upto) for one in mine]
        others = [one for one in readers if not isinstance(one, _OfTable)]
        if self._beside is not None and (others or not mine):
            answer = await self._look_beside(self._beside, others, view, since, upto)
        else:
            answer = LookAnswer(await self.seq(), None, None, time.time_ns() // 1000)
        if not mine:
            return answer
        starts = [reach.first for reach in reaches if reach is not None]
        lives = [reach.last for reach in reaches if reach is not None]
        answer = replace(
            answer,
            start=min(starts, default=None) if answer.start is None else min([answer.start, *starts]),
            live=max(lives, default=None) if answer.live is None else max([answer.live, *lives]),
        )
        return answer if since is None else await self._with_news(answer, mine, upto)

    async def _look_beside(
        self,
        beside: Recording,
        readers: Sequence[ChannelReader],
        view: View,
        since: int | None,
        upto: int | None,
    ) -> LookAnswer:
        then = None if since is None else since >> _BITS
        answer = await beside.look(readers, view, then, upto)
        return replace(
            answer,
            seq=self._seq(answer.seq),
            revisions=tuple((name, replace(one, seq=one.seq << _BITS)) for name, one in answer.revisions),
            late=tuple((name, replace(one, seq=one.seq << _BITS)) for name, one in answer.late),
        )

    async def _with_news(self, answer: LookAnswer, mine: Sequence[_OfTable], upto: int | None) -> LookAnswer:
        revised: list[tuple[str, Revision]] = []
        late: list[tuple[str, Record]] = []
        for one in mine:
            if isinstance(one, TableWhatIfReader):
                found = await one.revised(_most(upto))
                revised += [(one.info.channel, revision) for revision in found]
        # Nothing is awaited from here on: what a window has given by now is no news any more.
        for one in mine:
            if isinstance(one, TableEventsReader):
                late += [(one.info.channel, record) for record in records(one.news(_most(upto)))]
        if not revised and not late:
            return answer
        self._found += 1
        seq = self._seq(answer.seq >> _BITS)
        changed = [revision.start for _, revision in revised] + [record.time for _, record in late]
        if answer.changed_from is not None:
            changed.append(answer.changed_from)
        return replace(
            answer,
            seq=seq,
            changed_from=min(changed),
            revisions=(*answer.revisions, *((name, replace(one, seq=seq)) for name, one in revised)),
            late=(*answer.late, *((name, replace(one, seq=seq)) for name, one in late)),
        )


def _most(upto: int | None) -> int:
    return LATEST if upto is None else upto
