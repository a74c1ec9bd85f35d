"""``Statements``: the questions of an event table as SQL that every database of ours takes.

Plain SQL of one table: no function over times (these are compared as they are stored), no cast, no join, so
that an index, a sort key or the extents of blocks can be used where there are any. Counts by parts are one
pass: a tree of ``case`` finds the part of a row. Parameters are marked ``%s``; names are quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from timeline_workers.columns.key_table import Key


class Asked(NamedTuple):
    """A statement and its parameters."""

    text: str
    values: list[Any]


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


@dataclass(frozen=True, slots=True)
class KeyColumns:
    """The columns that hold a key: of texts and of whole numbers, both of them where a table has both."""

    texts: str | None = None
    ints: str | None = None

    def condition(self, keys: Sequence[Key]) -> Asked | None:
        """Of which rows these are the keys; None: of none."""
        parts, values = [], list[Any]()
        texts = [key for key in keys if isinstance(key, str)]
        # A database refuses to compare what no column of 64 bits holds.
        ints = [key for key in keys if not isinstance(key, str) and -(2**63) <= key < 2**63]
        for column, found in ((self.texts, texts), (self.ints, ints)):
            if column is not None and found:
                parts.append(f"{column} in ({', '.join(['%s'] * len(found))})")
                values += found
        return Asked(f"({' or '.join(parts)})", values) if parts else None


@dataclass(frozen=True, slots=True)
class Statements:
    """``table``, ``time``: as SQL; ``read``: what of each row is read, first of it its time; ``values``: the
    parameters of ``table``.
    """

    table: str
    time: str
    read: str
    values: tuple[Any, ...] = ()

    def rows(self, low: Any, high: Any, keys: Asked | None, limit: int | None) -> Asked:
        """The first rows of a window, by time; ``limit`` None: all of them."""
        where, values = self._where(low, high, keys)
        most = "" if limit is None else f" limit {limit}"
        return Asked(
            f"select {self.read} from {self.table} where {where} order by {self.time}{most}",
            [*self.values, *values],
        )

    def extreme(self, which: str, low: Any, high: Any, keys: Asked | None, shown: str) -> Asked:
        """The ``min`` or ``max`` of the time in a window, ``shown``: with ``{}`` for the time."""
        where, values = self._where(low, high, keys)
        found = shown.format(f"{which}({self.time})")
        return Asked(f"select {found} from {self.table} where {where}", [*self.values, *values])

    def counts(self, edges: Sequence[Any], keys: Asked | None) -> Asked:
        """Pairs of the number of a part and how many rows it has; parts without rows are left out."""
        part, inner = self._part(edges, 0, len(edges) - 1)
        where, values = self._where(edges[0], edges[-1], keys)
        return Asked(
            f"select part, count(*) from (select {part} as part from {self.table} where {where}) as parts "
            "group by part",
            [*inner, *self.values, *values],
        )

    def _part(self, edges: Sequence[Any], first: int, end: int) -> tuple[str, list[Any]]:
        """Which of the parts ``[first, end)`` a row lies in."""
        if end - first == 1:
            return str(first), []
        middle = (first + end) // 2
        below, values = self._part(edges, first, middle)
        above, more = self._part(edges, middle, end)
        text = f"case when {self.time} < %s then {below} else {above} end"
        return text, [edges[middle], *values, *more]

    def _where(self, low: Any, high: Any, keys: Asked | None) -> tuple[str, list[Any]]:
        text, values = f"{self.time} >= %s and {self.time} < %s", [low, high]
        if keys is not None:
            text, values = f"{text} and {keys.text}", [*values, *keys.values]
        return text, values
