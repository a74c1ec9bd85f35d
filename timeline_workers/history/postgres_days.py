"""Days in the PostgreSQL store: events, their payloads and the verdicts on them are in tables of their day.

A day is one of event time. An event belongs to that of the verdicts it comes with; where these have none, or
differ, to ``ODD``, and so does what no further table is made for. All verdicts on an event are in its day,
later ones with another time included: ``days`` says from when to when what is in each reaches, in event time
or, of a verdict without, by when the event was published. So a day lies below an event time, or not at all in
a window, whatever its number says, and one all of which is forgotten is dropped as tables.

Who reads holds ``days`` while it does; who drops waits until nobody does, so that none sees half of a day.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any

from .model import Forgotten, Position

DAY = 86_400_000_000  # microseconds
ODD = -1
MOST_DAYS = 400  # tables: a query without bounds locks each, and those of junk times are many
TABLES = ("blocks", "events", "verdicts")
PATIENCE = "2s"  # for readers; longer, and others would wait behind

Bounds = dict[int, tuple[int, int]]


def day_of(times: Sequence[int | None]) -> int:
    """The day of an event whose verdicts have these times."""
    found = {ODD if time is None or time < 0 else time // DAY for time in times}
    return found.pop() if len(found) == 1 else ODD


def widened(bounds: Bounds, day: int, time: int) -> None:
    """Have ``bounds`` of ``day`` include ``time``."""
    since, until = bounds.get(day, (time, time))
    bounds[day] = min(since, time), max(until, time)


async def hold(connection: Any) -> None:
    """Before a transaction reads anything: no day is dropped while it lasts."""
    await connection.execute("lock table days in access share mode")


async def within(connection: Any, start: int, end: int) -> list[int]:
    """The days that may have times in ``[start, end)``."""
    found = await connection.fetch("select day from days where since < $2 and until >= $1", start, end)
    return [row[0] for row in found]


async def stored_in(
    connection: Any, topic: int, positions: Collection[Position]
) -> dict[Position, tuple[int, int]]:
    """Of those of ``positions`` that have an event: its day, and when it was published."""
    found: dict[Position, tuple[int, int]] = {}
    for partition in {position.partition for position in positions}:
        mine = [position[1:] for position in positions if position.partition == partition]
        rows = await connection.fetch(
            "select major, minor, day, published from events where topic = $1 and partition = $2 "
            "and (major, minor) >= ($3, $4) and (major, minor) <= ($5, $6)",
            topic,
            partition,
            *min(mine),
            *max(mine),
        )
        found |= {Position(partition, *row[:2]): (row[2], row[3]) for row in rows}
    return {position: found[position] for position in positions if position in found}


async def made(connection: Any, days: Iterable[int]) -> set[int]:
    """Those of ``days`` that have tables, which are made where there may be more. By who appends."""
    wanted = set(days) - {ODD}
    there = {row[0] for row in await connection.fetch("select day from days where day <> $1", ODD)}
    for day in sorted(wanted - there)[: max(0, MOST_DAYS - len(there))]:
        for table in TABLES:
            # Attached, not made as partition: whoever reads goes on meanwhile.
            await connection.execute(
                f"create table {table}_{day} (like {table} including constraints including indexes); "
                f"alter table {table} attach partition {table}_{day} for values in ({day})"
            )
        there.add(day)
    return wanted & there


async def reaching(connection: Any, bounds: Mapping[int, tuple[int, int]]) -> None:
    """Say how far what is stored of days reaches."""
    await connection.executemany(
        "insert into days values ($1, $2, $3) on conflict (day) do update "
        "set since = least(days.since, excluded.since), until = greatest(days.until, excluded.until)",
        [(day, *both) for day, both in bounds.items()],
    )


async def extreme(connection: Any, definition: int, way: str) -> int | None:
    """The first or the last time of an accepted event of a definition; ``way``: asc or desc."""
    best: int | None = None
    sign, end = (1, "since") if way == "asc" else (-1, "until")
    for day, bound in await connection.fetch(
        f"select day, {end} from days where {end} is not null order by {end} {way}"
    ):
        if best is not None and sign * best <= sign * bound:
            break
        found = await connection.fetchval(
            "select time from verdicts where day = $2 and definition = $1 and outcome = 0 "
            f"and time is not null order by time {way} limit 1",
            definition,
            day,
        )
        if found is not None and (best is None or sign * found < sign * best):
            best = found
    return best


async def below(connection: Any, before: int) -> list[int]:
    """The days with anything below ``before``, in order."""
    rows = await connection.fetch("select day from days where since < $1 order by day", before)
    return [row[0] for row in rows]


async def drop(connection: Any, before: int, definitions: Sequence[int]) -> AsyncIterator[Forgotten]:
    """Drop the days all of which lies below ``before`` and is of ``definitions``, or that are empty. Where
    readers do not let go, those that are left are for another time.
    """
    from asyncpg.exceptions import LockNotAvailableError

    for (day,) in await connection.fetch(
        "select day from days where day <> $1 and until < $2 order by day", ODD, before
    ):
        if not await _goes(connection, day, before, definitions):
            continue
        try:
            async with connection.transaction():
                await connection.fetchval("select seen from store for update")  # nobody appends
                await connection.execute(f"set local lock_timeout = '{PATIENCE}'")
                await connection.execute("lock table days in access exclusive mode")
                if not await _goes(connection, day, before, definitions):
                    continue
                events = await connection.fetchval(f"select count(*) from events_{day}")
                verdicts = await connection.fetchval(f"select count(*) from verdicts_{day}")
                await connection.execute("drop table " + ", ".join(f"{table}_{day}" for table in TABLES))
                await connection.execute("delete from days where day = $1", day)
        except LockNotAvailableError:
            return
        yield Forgotten(events, verdicts, 0)


async def _goes(connection: Any, day: int, before: int, definitions: Sequence[int]) -> bool:
    # One look for each other definition: all verdicts of a day would be many.
    found = await connection.fetchval(
        "select until < $2 and not exists (select from definitions d cross join lateral "
        "(select 1 from verdicts v where v.day = $1 and v.definition = d.id limit 1) l "
        "where d.id <> all($3::bigint[])) from days where day = $1",
        day,
        before,
        definitions,
    )
    return bool(found)
