"""Appending to the SQLite store: what one transaction does. Calls block, and are of one thread.

``Appender`` holds the writing connection, and the numbers of names it has met. Numbers never change, so that
they may be remembered while other processes write; what a transaction that failed gave out is forgotten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import QuestionError

from .blocks import cut, pack
from .model import Appended, Gap, Judged, Position, RawEvent, Revision, Stamp, Writer
from .rows import Row, above, by_key, difference, since_of
from .sqlite_read import kept_of
from .text import key_text, words
from .verdicts import OUTCOMES, origins_of

_NUMBERED = 200_000
ROWS = 200
"""So many are inserted by one statement, at most."""
_CODES = {outcome: 2 * place for place, outcome in enumerate(OUTCOMES)}

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
        self._firsts: dict[tuple[int, int | None], int] = {}
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
                self._add_events(number, events)
                given = {event.position for event in events}
                for one in judged:
                    self._check_there(number, topic, {v.position for v in one.verdicts} - given)
                    self._add_verdicts(self._definition(one.definition, number, topic), one, seen)
                self._add_gaps(gaps, seen)
                if self.connection.total_changes == before + self._named:  # a new key alone is no news
                    raise Nothing
                return Appended(seen, True)
        except Nothing:
            return Appended(self.last_seen(), False)

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

    def _add_events(self, topic: int, events: Sequence[RawEvent]) -> None:
        run = self.connection.execute
        fresh = {event.position: event for event in reversed(events)}
        for partition in {position.partition for position in fresh}:
            mine = [position[1:] for position in fresh if position.partition == partition]
            stored = run(
                "select major, minor from events where topic = ? and partition = ? "
                "and (major, minor) >= (?, ?) and (major, minor) <= (?, ?)",
                (topic, partition, *min(mine), *max(mine)),
            )
            for major, minor in stored.fetchall():
                fresh.pop(Position(partition, major, minor), None)
        new = sorted(fresh.values(), key=lambda event: event.position)
        rows: list[object] = []
        for first, last in cut([event.payload for event in new]):
            part = new[first:last]
            body = pack([event.payload for event in part])
            block = run("insert into blocks (live, body) values (?, ?)", (len(part), body)).lastrowid
            for place, event in enumerate(part):
                rows += (topic, *event.position, event.published, block, place)
        self._insert("insert into events", 7, rows)

    def _add_verdicts(self, definition: int, judged: Judged, seen: int) -> None:
        run, many = self.connection.execute, self.connection.executemany
        keys: dict[Key | None, int | None] = {v.key: None for v in judged.verdicts}
        for key in keys:
            keys[key] = None if key is None else self._number("keys", key_text(key))
        rows: list[object] = []
        for v in judged.verdicts:
            rows += (
                *(definition, *v.position, _CODES[v.outcome] + v.below, keys[v.key], v.time, seen),
                *((words(v.reason), words(v.message)) if v.reason or v.message else (None, None)),
            )
        self._insert(
            "insert or ignore into verdicts (definition, partition, major, minor, outcome, key, time, seen, "
            "reason, message)",
            10,
            rows,
        )
        self._add_origins(definition, {keys[key]: at for key, at in origins_of(judged.verdicts).items()})
        for partition, watermark in judged.watermarks.items():
            run(
                "insert into source_marks values (?, ?, ?) on conflict do update "
                "set watermark = excluded.watermark "
                "where coalesce(excluded.watermark > watermark, watermark is null and "
                "excluded.watermark is not null)",
                (definition, partition, watermark),
            )
        many(
            "insert into followed values (?, ?, ?, ?, ?) on conflict do update "
            "set major = excluded.major, minor = excluded.minor, watermark = excluded.watermark "
            "where (excluded.major, excluded.minor) > (major, minor)",
            [(definition, partition, *at) for partition, at in judged.followed.items()],
        )

    def _add_origins(self, definition: int, firsts: Mapping[int | None, int]) -> None:
        rows: list[object] = []
        if len(self._firsts) >= _NUMBERED:
            self._firsts.clear()
        for key, first in firsts.items():
            # What is known never gets later.
            if self._firsts.get((definition, key), first + 1) > first:
                self._firsts[definition, key] = first
                rows += (definition, key, first)
        self._insert(
            "insert into origins",
            3,
            rows,
            "on conflict do update set first = excluded.first where excluded.first < first",
        )

    def _insert(self, into: str, columns: int, rows: list[object], then: str = "") -> None:
        """Insert ``rows``, one value after the other, many with a statement: at each step of one the
        interpreter is let go and waited for again, which takes longer than writing a row.
        """
        one = f"({', '.join('?' * columns)})"
        for first in range(0, len(rows), ROWS * columns):
            part = rows[first : first + ROWS * columns]
            values = ", ".join([one] * (len(part) // columns))
            self.connection.execute(f"{into} values {values} {then}", part)

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

    def _check_there(self, topic: int, topic_name: str, positions: Set[Position]) -> None:
        for partition in {position.partition for position in positions}:
            wanted = {position for position in positions if position.partition == partition}
            stored = self.connection.execute(
                "select partition, major, minor from events where topic = ? and partition = ? "
                "and (major, minor) >= (?, ?) and (major, minor) <= (?, ?)",
                (topic, partition, *min(wanted)[1:], *max(wanted)[1:]),
            )
            wanted.difference_update(Position(*row) for row in stored)
            if wanted:
                raise QuestionError(
                    f"there is no event of {topic_name!r} at {min(wanted)}; append it with its verdict"
                )

    def _add_gaps(self, gaps: Sequence[Gap], seen: int) -> None:
        for gap in gaps:
            said = (gap.of, gap.since, gap.until, gap.why)
            self.connection.execute(
                "insert into gaps (of, since, until, why, seen) select ?1, ?2, ?3, ?4, ?5 where not exists "
                "(select 1 from gaps where of = ?1 and since is ?2 and until is ?3 and why = ?4)",
                (*said, seen),
            )

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
