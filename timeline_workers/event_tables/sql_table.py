"""``SqlTable``: an event table that answers SQL; what the databases have in common.

Whoever makes one gives the statements, the meaning of the time column, how to ask, and how a row is read. A
window is asked for with one row more than the limit, which says whether there are more; an instant with more
rows than the limit is asked for once more, as a whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from timeline_workers.columns.key_table import Key
from timeline_workers.events.times import EARLIEST, LATEST

from .event_table import EventRow, Extent, Rows, in_order, whole_instants
from .sql_statements import Asked, KeyColumns, Statements
from .time_column import TimeColumn

Ask = Callable[[Asked], Awaitable[list[tuple[Any, ...]]]]
ReadRow = Callable[[tuple[Any, ...]], EventRow]


class SqlTable:
    """See the module and ``EventTable``. ``extreme``: how a greatest or least time is selected; ``instant``:
    what such a one means; ``bound``: an instant as a parameter that is compared with the time column.
    """

    def __init__(
        self,
        statements: Statements,
        times: TimeColumn,
        keys: KeyColumns | None,
        ask: Ask,
        read_row: ReadRow,
        close: Callable[[], Awaitable[None]],
        *,
        extreme: str = "{}",
        instant: Callable[[Any], int | None] | None = None,
    ) -> None:
        self.needs_keys = False
        self._statements, self._keys = statements, keys
        self._ask, self._read_row, self._close = ask, read_row, close
        self._bound = times.bound
        self._extreme = extreme
        self._instant = times.instant if instant is None else instant

    async def rows(self, start: int, end: int, *, keys: Sequence[Key] | None, limit: int) -> Rows:
        """See ``EventTable``."""
        if start >= end or self._is_nobody(keys):
            return Rows(end, [])
        found = whole_instants(await self._read(start, end, keys, limit + 1), end, limit)
        if found is not None:
            return found
        first = (await self._read(start, end, keys, 1))[0].time
        return Rows(first + 1, in_order(await self._read(first, first + 1, keys, None)))

    async def counts(self, edges: Sequence[int], *, keys: Sequence[Key] | None) -> list[int]:
        """See ``EventTable``."""
        found = [0] * (len(edges) - 1)
        if found and edges[0] < edges[-1] and not self._is_nobody(keys):
            asked = self._statements.counts([self._bound(edge) for edge in edges], self._of_keys(keys))
            for part, many in await self._ask(asked):
                found[part] = many
        return found

    async def neighbour(self, at: int, *, back: bool, keys: Sequence[Key] | None) -> int | None:
        """See ``EventTable``."""
        return await (self._most("max", EARLIEST, at, keys) if back else self._least(at + 1, keys))

    async def extent(self, *, keys: Sequence[Key] | None) -> Extent | None:
        """See ``EventTable``."""
        first = await self._least(EARLIEST, keys)
        last = None if first is None else await self._most("max", EARLIEST, LATEST + 1, keys)
        return None if first is None or last is None else Extent(first, last)

    async def close(self) -> None:
        """See ``EventTable``."""
        await self._close()

    async def _least(self, start: int, keys: Sequence[Key] | None) -> int | None:
        return await self._most("min", start, LATEST + 1, keys)

    async def _most(self, which: str, start: int, end: int, keys: Sequence[Key] | None) -> int | None:
        if start >= end or self._is_nobody(keys):
            return None
        low, high = self._bound(start), self._bound(end)
        asked = self._statements.extreme(which, low, high, self._of_keys(keys), self._extreme)
        ((found,),) = await self._ask(asked)
        return None if found is None else self._instant(found)

    async def _read(
        self, start: int, end: int, keys: Sequence[Key] | None, limit: int | None
    ) -> list[EventRow]:
        low, high = self._bound(start), self._bound(end)
        asked = self._statements.rows(low, high, self._of_keys(keys), limit)
        return [self._read_row(row) for row in await self._ask(asked)]

    def _of_keys(self, keys: Sequence[Key] | None) -> Asked | None:
        return None if keys is None or self._keys is None else self._keys.condition(keys)

    def _is_nobody(self, keys: Sequence[Key] | None) -> bool:
        """Whether no row of this table can have one of these keys."""
        return keys is not None and (self._keys is None or self._keys.condition(keys) is None)
