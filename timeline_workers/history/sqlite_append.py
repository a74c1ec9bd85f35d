"""Appending to the SQLite store: what one transaction does. Calls block, and are of one thread.

``Appender`` holds the writing connection, and the numbers of names it has met. Numbers never change, so that
they may be remembered while other processes write; what a transaction that failed gave out is forgotten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Int64
from timeline_workers.errors import QuestionError

from .block_columns import EventColumns, VerdictColumns, firsts_of, places, same_positions
from .model import Appended, Gap, Judged, RawEvent, Revision, Stamp, Writer
from .rows import Row, above, by_key, difference, since_of
from .sqlite_events import add_events, check_there
from .sqlite_key_runs import FAN, WHOLE, index_keys
from .sqlite_read import kept_of
from .sqlite_verdicts import add_verdicts
from .text import key_text

_NUMBERED = 200_000
ROWS = 200
"""So many are inserted by one statement, at most."""

_HELD = """
select began, value, slope, id from pieces
where key = ?1 and node = ?2 and seen_until is null and began >= coalesce(
    (select began from pieces where key = ?1 and node = ?2 and began < ?3 and seen_until is null
     order by began desc limit 1), ?3)
order by began
"""


class Nothing(Exception):
    """Ends a transaction that has nothing to write."""


class Appender:
    """Appends through ``connection``; ``now``: microseconds of a clock, which may go back."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], int]) -> None:
        self.connection = connection
        self._now = now
        self._numbers: dict[str, dict[str, int]] = {}
        self._keys: dict[Key, int] = {}
        self._firsts: dict[int, dict[int, int]] = {}
        self._named = 0  # keys that this transaction has given numbers

    @contextmanager
    def transaction(self) -> Iterator[int]:
        """A transaction, and the system time of what is appended in it: later than any before."""
        run = self.connection.execute
        with self.forgetting():
            (last,) = run("select seen from store").fetchone()
            seen = max(self._now(), last + 1)
            run("update store set seen = ?", (seen,))
            yield seen

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """A transaction that appends nothing, and so has no system time."""
        run = self.connection.execute
        run("begin immediate")
        try:
            yield
            run("commit")
        except BaseException:
            self._numbers.clear()
            self._keys.clear()
            self._firsts.clear()
            if self.connection.in_transaction:
                run("rollback")
            raise

    def last_seen(self) -> int:
        """The system time of the last append."""
        (seen,) = self.connection.execute("select seen from store").fetchone()
        return int(seen)

    def append_events(
        self, topic: str, events: Sequence[RawEvent], judged: Sequence[Judged], gaps: Sequence[Gap]
    ) -> Appended:
        """See ``HistoryStore``."""
        try:
            with self.transaction() as seen:
                before, self._named = self.connection.total_changes, 0
                number = self._number("topics", topic) if events or judged else 0
                columns = EventColumns.of(events)
                add_events(self.connection, number, columns)
                for one in judged:
                    self._check_there(number, topic, columns, one)
                    self._add_verdicts(self._definition(one.definition, number, topic), one, seen)
                self._add_gaps(gaps, seen)
                if self.connection.total_changes == before + self._named:  # a new key alone is no news
                    raise Nothing
        except Nothing:
            return Appended(self.last_seen(), False)
        if judged:
            self._index()
        return Appended(seen, True)

    def append_revisions(
        self,
        writer: Writer,
        stamp: Stamp,
        revisions: Sequence[Revision],
        watermark: int | None,
        gaps: Sequence[Gap],
    ) -> Appended:
        """See ``HistoryStore``."""
        try:
            with self.transaction() as seen:
                node = self._number("nodes", writer.node)
                self._mark(writer, node, stamp, watermark)
                kept_from = kept_of(self.connection, "nodes", [node])
                revisions = [above(revision, kept_from) for revision in revisions]
                self._revise(node, by_key(revisions), seen)
                self._add_gaps(gaps, seen)
                return Appended(seen, True)
        except Nothing:
            return Appended(self.last_seen(), False)

    # Events and verdicts.

    def _add_verdicts(self, definition: int, judged: Judged, seen: int) -> None:
        many = self.connection.executemany
        verdicts = VerdictColumns.of(judged.verdicts)
        if len(verdicts):
            numbers = self._key_numbers(verdicts.keys)
            add_verdicts(self.connection, definition, verdicts, numbers, seen)
            self._add_origins(definition, *firsts_of(verdicts, numbers))
        many(
            "insert into source_marks values (?, ?, ?) on conflict do update "
            "set watermark = excluded.watermark "
            "where coalesce(excluded.watermark > watermark, watermark is null and "
            "excluded.watermark is not null)",
            [(definition, *mark) for mark in judged.watermarks.items()],
        )
        many(
            "insert into followed values (?, ?, ?, ?, ?) on conflict do update "
            "set major = excluded.major, minor = excluded.minor, watermark = excluded.watermark "
            "where (excluded.major, excluded.minor) > (major, minor)",
            [(definition, partition, *at) for partition, at in judged.followed.items()],
        )

    def _key_numbers(self, keys: Sequence[Key]) -> Int64:
        """The number of each of these distinct keys, new ones if need be, and -1."""
        if len(self._keys) >= _NUMBERED:
            self._keys.clear()
        known = self._keys
        new = {key_text(key): key for key in keys if key not in known}
        for first in range(0, len(new), ROWS):
            part = list(new)[first : first + ROWS]
            self._named += self._insert("insert or ignore into keys (name)", 1, part)
            listed = ", ".join("?" * len(part))
            rows = self.connection.execute(f"select name, id from keys where name in ({listed})", part)
            known |= {new[name]: number for name, number in rows}
        return np.array([*map(known.__getitem__, keys), -1], np.int64)

    def _add_origins(self, definition: int, keys: Int64, firsts: Int64) -> None:
        rows: list[object] = []
        known = self._firsts.setdefault(definition, {})
        if len(known) >= _NUMBERED:
            known.clear()
        for key, first in zip(keys.tolist(), firsts.tolist(), strict=True):
            # What is known never gets later.
            if known.get(key, first + 1) > first:
                known[key] = first
                rows += (definition, key, first)
        self._insert(
            "insert into origins",
            3,
            rows,
            "on conflict do update set first = excluded.first where excluded.first < first",
        )

    def _insert(self, into: str, columns: int, rows: Sequence[object], then: str = "") -> int:
        """Insert ``rows``, one value after the other, many with a statement: at each step of one the
        interpreter is let go and waited for again, which takes longer than writing a row. Returns how many
        were written.
        """
        one, written = f"({', '.join('?' * columns)})", 0
        for first in range(0, len(rows), ROWS * columns):
            part = rows[first : first + ROWS * columns]
            values = ", ".join([one] * (len(part) // columns))
            written += self.connection.execute(f"{into} values {values} {then}", part).rowcount
        return written

    def _definition(self, name: str, topic: int, topic_name: str) -> int:
        run = self.connection.execute
        run("insert or ignore into definitions (name, topic) values (?, ?)", (name, topic))
        number, of = run("select id, topic from definitions where name = ?", (name,)).fetchone()
        if of != topic:
            (other,) = run("select name from topics where id = ?", (of,)).fetchone()
            raise QuestionError(
                f"source definition {name!r} is of topic {other!r}, its verdicts are not on {topic_name!r}"
            )
        return int(number)

    def _add_gaps(self, gaps: Sequence[Gap], seen: int) -> None:
        for gap in gaps:
            said = (gap.of, gap.since, gap.until, gap.why)
            self.connection.execute(
                "insert into gaps (of, since, until, why, seen) select ?1, ?2, ?3, ?4, ?5 where not exists "
                "(select 1 from gaps where of = ?1 and since is ?2 and until is ?3 and why = ?4)",
                (*said, seen),
            )

    def _check_there(self, topic: int, topic_name: str, given: EventColumns, judged: Judged) -> None:
        on = VerdictColumns.of(judged.verdicts).position
        if not same_positions(on, given.position):
            wanted = places(on) - places(given.position)
            check_there(self.connection, topic, topic_name, wanted)

    def _index(self) -> None:
        """Bring what finds verdicts by key up to date, where there are enough that it does not find."""
        waiting = self.connection.execute(
            "select definition from verdict_blocks where not keyed and many >= ? group by definition "
            "having count(*) >= ?",
            (WHOLE, FAN),
        ).fetchall()
        for (definition,) in waiting:
            with self.forgetting():
                index_keys(self.connection, definition)

    # Revisions.

    def _mark(self, writer: Writer, node: int, stamp: Stamp, watermark: int | None) -> None:
        run = self.connection.execute
        known = run(
            "select stamp_major, stamp_minor, watermark, node from writers where name = ?", (writer.name,)
        ).fetchone()
        if known is not None and (known[0], known[1]) >= tuple(stamp):
            raise Nothing
        marks = [mark for mark in (watermark, known and known[2]) if mark is not None]
        run(
            "insert or replace into writers values (?, ?, ?, ?, ?, ?)",
            (writer.name, node, writer.partitions, *stamp, max(marks, default=None)),
        )

    def _revise(self, node: int, revisions: Mapping[str, Sequence[Revision]], seen: int) -> None:
        run, many = self.connection.execute, self.connection.executemany
        superseded: list[tuple[int, int]] = []
        rows: list[tuple[int, int, int, str, str | None, int]] = []
        lanes: list[tuple[int, int]] = []
        for text, of_key in revisions.items():
            key = self._number("keys", text)
            held = run(_HELD, (key, node, since_of(of_key))).fetchall()
            gone, new = difference([Row(*row[:3]) for row in held], of_key)
            if gone:
                begins = {row.began for row in gone}  # no two rows of a lane begin at one time
                superseded += [(seen, row[3]) for row in held if row[0] in begins]
            rows += [(key, node, *row, seen) for row in new]
            if new and not held:
                lanes.append((node, key))
        many("update pieces set seen_until = ? where id = ?", superseded)
        many("insert into pieces (key, node, began, value, slope, seen_from) values (?, ?, ?, ?, ?, ?)", rows)
        many("insert or ignore into lanes values (?, ?)", lanes)

    def _number(self, table: str, name: str) -> int:
        """The number of ``name`` in ``table``, a new one if need be."""
        numbers = self._numbers.get(table)
        if numbers is None or len(numbers) >= _NUMBERED:
            numbers = self._numbers[table] = {}
        number = numbers.get(name)
        if number is None:
            run = self.connection.execute
            made = run(f"insert or ignore into {table} (name) values (?)", (name,)).rowcount
            self._named += made if table == "keys" else 0
            (number,) = run(f"select id from {table} where name = ?", (name,)).fetchone()
            numbers[name] = int(number)
        return int(number)
