"""Appending to the PostgreSQL store: what one transaction does, on a connection that nobody else uses.

Who appends holds the row of ``store``: appends of all processes are in the order of their system times. Rows
are written by COPY; what is there already is asked for first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from typing import Any

from timeline_workers.errors import QuestionError

from .blocks import cut, pack
from .model import Appended, Gap, Judged, Position, RawEvent, Revision, Stamp, Writer
from .postgres_days import ODD, Bounds, day_of, made, reaching, stored_in, widened
from .postgres_read import kept_of
from .rows import Row, above, by_key, difference, since_of
from .text import key_text, words
from .verdicts import OUTCOMES, origins_of

_HELD = """
select p.key, p.began, p.value, p.slope, p.id
from unnest($1::bigint[], $2::bigint[]) as w(key, since)
cross join lateral (select coalesce(
    (select b.began from pieces b where b.key = w.key and b.node = $3 and b.began < w.since
     and b.seen_until is null order by b.began desc limit 1), w.since) as since) f
join pieces p on p.key = w.key and p.node = $3 and p.began >= f.since and p.seen_until is null
order by p.key, p.began
"""

# Of positions: the day of the event there, and when it was published.
Stored = Mapping[Position, tuple[int, int]]


class Nothing(Exception):
    """Ends a transaction that has nothing to write."""


@asynccontextmanager
async def appending(connection: Any, now: Callable[[], int]) -> AsyncIterator[int]:
    """A transaction, and the system time of what is appended in it."""
    async with connection.transaction():
        last = await connection.fetchval("select seen from store for update")
        seen = max(now(), last + 1)
        await connection.execute("update store set seen = $1", seen)
        yield seen


async def append_events(
    connection: Any,
    now: Callable[[], int],
    topic: str,
    events: Sequence[RawEvent],
    judged: Sequence[Judged],
    gaps: Sequence[Gap],
) -> Appended:
    """See ``HistoryStore``."""
    try:
        async with appending(connection, now) as seen:
            many = 0
            if events or judged:
                many = await _add_events_and_verdicts(connection, topic, events, judged, seen)
            if not many + await _add_gaps(connection, gaps, seen):
                raise Nothing
            return Appended(seen, True)
    except Nothing:
        return Appended(await connection.fetchval("select seen from store"), False)


async def _add_events_and_verdicts(
    connection: Any, topic: str, events: Sequence[RawEvent], judged: Sequence[Judged], seen: int
) -> int:
    number, many = await _number(connection, "topics", topic)
    times: dict[Position, list[int | None]] = {}
    for verdict in (v for one in judged for v in one.verdicts):
        times.setdefault(verdict.position, []).append(verdict.time)
    fresh = {event.position: event for event in reversed(events)}
    stored = await stored_in(connection, number, fresh.keys() | times.keys())
    if missing := times.keys() - fresh.keys() - stored.keys():
        raise QuestionError(f"there is no event of {topic!r} at {min(missing)}; append it with its verdict")
    new = sorted((event for at, event in fresh.items() if at not in stored), key=lambda one: one.position)
    days = {event.position: day_of(times.get(event.position, ())) for event in new}
    there = await made(connection, days.values()) if days else set()
    for event in new:
        day = days[event.position]
        stored[event.position] = (day if day in there else ODD), event.published
    many += await _add_events(connection, number, new, stored)
    bounds: Bounds = {}
    for one in judged:
        definition, is_new = await _definition(connection, one.definition, number, topic)
        many += is_new + await _add_verdicts(connection, definition, one, stored, seen, bounds)
    if bounds:
        await reaching(connection, bounds)
    return many


async def append_revisions(
    connection: Any,
    now: Callable[[], int],
    writer: Writer,
    stamp: Stamp,
    revisions: Sequence[Revision],
    watermark: int | None,
    gaps: Sequence[Gap],
) -> Appended:
    """See ``HistoryStore``."""
    try:
        async with appending(connection, now) as seen:
            node, _ = await _number(connection, "nodes", writer.node)
            await _mark(connection, writer, node, stamp, watermark)
            kept_from = await kept_of(connection, "nodes", [node])
            found = by_key(above(revision, kept_from) for revision in revisions)
            if found:
                await _revise(connection, node, found, seen)
            await _add_gaps(connection, gaps, seen)
            return Appended(seen, True)
    except Nothing:
        return Appended(await connection.fetchval("select seen from store"), False)


async def _judged(
    connection: Any, definition: int, positions: Set[Position], days: Set[int]
) -> set[Position]:
    """Those of ``positions``, which are events of these days, that have a verdict."""
    found: set[Position] = set()
    for partition in {position.partition for position in positions}:
        mine = [position[1:] for position in positions if position.partition == partition]
        rows = await connection.fetch(
            "select major, minor from verdicts where definition = $1 and partition = $2 "
            "and (major, minor) >= ($3, $4) and (major, minor) <= ($5, $6) and day = any($7::int[])",
            definition,
            partition,
            *min(mine),
            *max(mine),
            sorted(days),
        )
        found |= {Position(partition, *row) for row in rows}
    return found & positions


async def _add_events(connection: Any, topic: int, new: Sequence[RawEvent], stored: Stored) -> int:
    of_days: dict[int, list[RawEvent]] = {}
    for event in new:
        of_days.setdefault(stored[event.position][0], []).append(event)
    rows = []
    for day, of_day in of_days.items():
        for first, last in cut([event.payload for event in of_day]):
            part = of_day[first:last]
            body = pack([event.payload for event in part])
            block = await connection.fetchval(
                "insert into blocks (day, live, body) values ($1, $2, $3) returning id", day, len(part), body
            )
            rows += [(day, topic, *e.position, e.published, block, place) for place, e in enumerate(part)]
    columns = ["day", "topic", "partition", "major", "minor", "published", "block", "place"]
    await connection.copy_records_to_table("events", records=rows, columns=columns)
    return len(rows)


async def _add_verdicts(
    connection: Any, definition: int, judged: Judged, stored: Stored, seen: int, bounds: Bounds
) -> int:
    fresh = {v.position: v for v in reversed(judged.verdicts)}
    days = {stored[position][0] for position in fresh}
    for position in await _judged(connection, definition, fresh.keys(), days):
        del fresh[position]
    for v in fresh.values():
        day, published = stored[v.position]
        widened(bounds, day, published if v.time is None else v.time)
    numbers = await _keys(connection, {key_text(v.key) for v in judged.verdicts if v.key is not None})
    rows = [
        (
            stored[v.position][0],
            definition,
            *v.position,
            2 * OUTCOMES.index(v.outcome) + v.below,
            None if v.key is None else numbers[key_text(v.key)],
            v.time,
            seen,
            words(v.reason),
            words(v.message),
        )
        for v in fresh.values()
    ]
    columns = [
        "day",
        "definition",
        "partition",
        "major",
        "minor",
        "outcome",
        "key",
        "time",
        "seen",
        "reason",
        "message",
    ]
    await connection.copy_records_to_table("verdicts", records=rows, columns=columns)
    many = len(rows)
    firsts = origins_of(judged.verdicts)
    many += await _count(
        connection,
        "insert into origins select $1::bigint, * from unnest($2::bigint[], $3::bigint[]) "
        "on conflict (definition, key) do update set first = excluded.first "
        "where excluded.first < origins.first",
        definition,
        [numbers[key_text(key)] for key in firsts],
        list(firsts.values()),
    )
    for partition, watermark in judged.watermarks.items():
        many += await _count(
            connection,
            "insert into source_marks values ($1, $2, $3) on conflict (definition, partition) do update "
            "set watermark = excluded.watermark where excluded.watermark is not null and "
            "(source_marks.watermark is null or excluded.watermark > source_marks.watermark)",
            definition,
            partition,
            watermark,
        )
    for partition, at in judged.followed.items():
        many += await _count(
            connection,
            "insert into followed values ($1, $2, $3, $4, $5) on conflict (definition, partition) do update "
            "set major = excluded.major, minor = excluded.minor, watermark = excluded.watermark "
            "where (excluded.major, excluded.minor) > (followed.major, followed.minor)",
            definition,
            partition,
            *at,
        )
    return many


async def _definition(connection: Any, name: str, topic: int, topic_name: str) -> tuple[int, int]:
    made = await _count(
        connection,
        "insert into definitions (name, topic) values ($1, $2) on conflict do nothing",
        name,
        topic,
    )
    number, of = await connection.fetchrow("select id, topic from definitions where name = $1", name)
    if of != topic:
        other = await connection.fetchval("select name from topics where id = $1", of)
        raise QuestionError(
            f"source definition {name!r} is of topic {other!r}, its verdicts are not on {topic_name!r}"
        )
    return number, made


async def _add_gaps(connection: Any, gaps: Sequence[Gap], seen: int) -> int:
    return sum(
        [
            await _count(
                connection,
                "insert into gaps (of, since, until, why, seen) "
                "select $1::text, $2::bigint, $3::bigint, $4::text, $5::bigint where not exists "
                "(select 1 from gaps where of = $1 and since is not distinct from $2 "
                "and until is not distinct from $3 and why = $4)",
                *(gap.of, gap.since, gap.until, gap.why),
                seen,
            )
            for gap in gaps
        ]
    )


async def _mark(connection: Any, writer: Writer, node: int, stamp: Stamp, watermark: int | None) -> None:
    known = await connection.fetchrow(
        "select stamp_major, stamp_minor, watermark from writers where name = $1", writer.name
    )
    if known is not None and (known[0], known[1]) >= tuple(stamp):
        raise Nothing
    marks = [mark for mark in (watermark, known and known[2]) if mark is not None]
    await connection.execute(
        "insert into writers values ($1, $2, $3, $4, $5, $6) on conflict (name) do update set node = $2, "
        "partitions = $3, stamp_major = $4, stamp_minor = $5, watermark = $6",
        writer.name,
        node,
        writer.partitions,
        *stamp,
        max(marks, default=None),
    )


async def _revise(connection: Any, node: int, revisions: dict[str, list[Revision]], seen: int) -> None:
    numbers = await _keys(connection, revisions.keys())
    of_keys = [(numbers[text], of_key) for text, of_key in revisions.items()]
    held: dict[int, list[tuple[Row, int]]] = {}
    for key, began, value, slope, number in await connection.fetch(
        _HELD, [key for key, _ in of_keys], [since_of(of_key) for _, of_key in of_keys], node
    ):
        held.setdefault(key, []).append((Row(began, value, slope), number))
    superseded: list[int] = []
    rows: list[tuple[Any, ...]] = []
    for key, of_key in of_keys:
        mine = held.get(key, [])
        gone, new = difference([row for row, _ in mine], of_key)
        if gone:
            superseded += [number for row, number in mine if row in gone]
        rows += [(key, node, *row, seen) for row in new]
    await connection.execute(
        "update pieces set seen_until = $1 where id = any($2::bigint[])", seen, superseded
    )
    columns = ["key", "node", "began", "value", "slope", "seen_from"]
    await connection.copy_records_to_table("pieces", records=rows, columns=columns)
    await connection.execute(
        "insert into lanes select $1::bigint, * from unnest($2::bigint[]) on conflict do nothing",
        node,
        sorted({row[0] for row in rows}),
    )


async def _number(connection: Any, table: str, name: str) -> tuple[int, int]:
    """The number of ``name`` in ``table``, and whether it is new."""
    made = await _count(connection, f"insert into {table} (name) values ($1) on conflict do nothing", name)
    return await connection.fetchval(f"select id from {table} where name = $1", name), made


async def _keys(connection: Any, texts: Set[str]) -> dict[str, int]:
    names = sorted(texts)
    await connection.execute(
        "insert into keys (name) select n from unnest($1::text[]) n "
        "where not exists (select 1 from keys where name = n) on conflict do nothing",
        names,
    )
    found = await connection.fetch("select name, id from keys where name = any($1::text[])", names)
    return {row[0]: row[1] for row in found}


async def _count(connection: Any, statement: str, *given: Any) -> int:
    """How many rows a statement wrote."""
    said: str = await connection.execute(statement, *given)
    return int(said.rpartition(" ")[2])
