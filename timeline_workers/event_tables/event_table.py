"""``EventTable``: the protocol of an event table that somebody else keeps, and the rows that it gives.

A row is an event: it has a time, perhaps a key, and a payload. Nothing else is asked of a table: no order in
which its rows are stored, no key that is unique, no index. Rows without a time are no events.

Guarantees of every table:

* *Bounded.* A read gives at most ``limit`` rows, but whole instants: all rows of one instant come together,
  and where a single instant has more than the limit, all of it. A window is never read as a whole.
* *One order.* Rows come by time; those of one instant by the ``position`` that is declared for the table,
  then by their payload's text, so that the same rows come in the same order whatever reads them.
* *Exact.* Windows are half-open, ``[start, end)``, in microseconds; times that are finer are cut off to
  microseconds, toward the past. ``counts`` and ``neighbour`` say what reading all rows would say.

Keys of other types than those that a table holds have no rows: ``1`` and ``"1"`` are different keys.

Errors: TableError where a table is not what its declaration says (named, with the rule and the fix);
ConnectionFailedError where its server does not answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from timeline_workers.columns.key_table import Key


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row. ``time``: microseconds; ``key``: None where it has none; ``payload``: of JSON values only."""

    time: int
    key: Key | None
    payload: Mapping[str, Any]
    position: int | str | None = None


class Rows(NamedTuple):
    """All rows of a window with a time below ``end``, which is the window's own end where all were given."""

    end: int
    rows: list[EventRow]


class Extent(NamedTuple):
    """The least and the greatest time of a table's rows."""

    first: int
    last: int


class EventTable(Protocol):
    """A table; see the module for what every call guarantees and raises.

    ``needs_keys``: its rows can be asked for by key only; without keys every call raises TableError.
    """

    @property
    def needs_keys(self) -> bool:
        """See the class."""
        ...

    async def rows(self, start: int, end: int, *, keys: Sequence[Key] | None, limit: int) -> Rows:
        """The first rows of a window."""
        ...

    async def counts(self, edges: Sequence[int], *, keys: Sequence[Key] | None) -> list[int]:
        """How many rows lie in ``[edges[i], edges[i + 1])``, for each i; edges ascend."""
        ...

    async def neighbour(self, at: int, *, back: bool, keys: Sequence[Key] | None) -> int | None:
        """The least time of a row after ``at``; with ``back`` the greatest one before it."""
        ...

    async def extent(self, *, keys: Sequence[Key] | None) -> Extent | None:
        """How far the rows reach; None where there are none."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


def text_of(row: EventRow) -> str:
    """A row's key and payload as text, by which rows of one instant are told apart."""
    return json.dumps([row.key, row.payload], sort_keys=True)


def in_order(rows: Iterable[EventRow]) -> list[EventRow]:
    """Rows in the order of every table."""
    found: list[EventRow] = []
    for _, tied in groupby(sorted(rows, key=lambda row: row.time), key=lambda row: row.time):
        of_instant = list(tied)
        found += of_instant if len(of_instant) == 1 else sorted(of_instant, key=_order)
    return found


def _order(row: EventRow) -> tuple[int, int, str, str]:
    at = row.position
    if isinstance(at, int):
        return 1, at, "", text_of(row)
    return (0, 0, "", text_of(row)) if at is None else (2, 0, at, text_of(row))


def whole_instants(rows: Sequence[EventRow], end: int, limit: int) -> Rows | None:
    """Of rows in the order of time, of which there may be more when they are over ``limit``, the first, by
    whole instants; None where it is one instant of which there may be more.
    """
    if len(rows) <= limit:
        return Rows(end, in_order(rows))
    last = rows[limit].time
    if rows[0].time == last:
        return None
    return Rows(last, in_order(row for row in rows if row.time < last))
