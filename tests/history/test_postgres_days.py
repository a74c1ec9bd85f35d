"""Days in the PostgreSQL store are tables, which forgetting drops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import pytest

from timeline_workers.history import postgres_days, postgres_schema
from timeline_workers.history.blocks import pack
from timeline_workers.history.model import (
    Forgotten,
    Judged,
    Outcome,
    Position,
    RawEvent,
    Revision,
    Scope,
    Verdict,
    Writer,
)
from timeline_workers.history.postgres_days import DAY
from timeline_workers.history.postgres_store import PostgresStore

FOREVER = 1_000 * DAY
Opened = Callable[[], AbstractAsyncContextManager[PostgresStore]]


@pytest.fixture
def opened(postgres_address: str, request: pytest.FixtureRequest) -> Opened:
    """Opens the store of a test, in a schema of its own."""
    clock = count(1)

    @asynccontextmanager
    async def open_it() -> AsyncIterator[PostgresStore]:
        schema = request.node.name[:60]
        store = await PostgresStore.open(postgres_address, schema=schema, now=lambda: next(clock))
        try:
            yield store
        finally:
            await store.close()

    return open_it


def event(number: int) -> RawEvent:
    return RawEvent(Position(0, 0, number), f"event {number}".encode(), published=5)


def verdict(number: int, time: int | None) -> Verdict:
    outcome = Outcome.REFUSED if time is None else Outcome.ACCEPTED
    return Verdict(Position(0, 0, number), outcome, None if time is None else f"s{number % 2}", time)


def at(number: int) -> int:
    """The time of an event: ten of each day."""
    return number // 10 * DAY + number


async def append(store: PostgresStore, numbers: range, *definitions: str) -> None:
    judged = [Judged(name, [verdict(number, at(number)) for number in numbers]) for name in definitions]
    await store.append_events("clicks", [event(number) for number in numbers], judged)


async def tables(store: PostgresStore) -> set[str]:
    async with store._pool.acquire() as connection:
        found = await connection.fetch(
            "select tablename from pg_tables where schemaname = $1 and tablename ~ '_[0-9]+$'", store._schema
        )
    return {row[0] for row in found}


def of_days(*days: int) -> set[str]:
    return {f"{table}_{day}" for table in postgres_days.TABLES for day in days}


async def times(store: PostgresStore, definition: str, start: int = 0) -> list[int | None]:
    return [one.time for one in await store.events(definition, start, FOREVER)]


async def test_days_are_dropped_as_tables(opened: Opened) -> None:
    """What is whole below the bound goes with its tables, the rest of a day, and keys, row by row."""
    async with opened() as store:
        await append(store, range(40), "one")
        assert await tables(store) == of_days(0, 1, 2, 3)
        begins = [
            Revision("idle", 1, [(1, True, None)]),
            Revision("busy", 1, [(1, True, None), (at(25), 3, None)]),
        ]
        await store.append_revisions(Writer("w", "a"), (1, 0), begins)
        async with store._pool.acquire() as connection:
            kept = {row[0] for row in await connection.fetch("select id from blocks where day >= 2")}
        bound = at(25)
        assert await store.forget(bound, idle=bound) == Forgotten(25, 25, 2)
        assert await tables(store) == of_days(2, 3)
        assert await times(store, "one", bound) == [at(number) for number in range(25, 40)]
        assert [piece.key for piece in await store.snapshot(["a"], bound)] == ["busy"]
        assert (await store.status()).events == {"clicks": 15}
        reach = await store.reach("one")
        assert reach is not None
        assert (reach.first, reach.last) == (at(25), at(39))
        async with store._pool.acquire() as connection:
            assert {row[0] for row in await connection.fetch("select id from blocks")} == kept
        # What comes again is of a day that was dropped, which is there anew.
        await append(store, range(3), "one")
        assert await tables(store) == of_days(0, 2, 3)


async def test_day_stays_while_anybody_wants_of_it(opened: Opened) -> None:
    async with opened() as store:
        await append(store, range(20), "one", "other")
        only = Scope(definitions=["one"], nodes=[])
        assert await store.forget(2 * DAY, of=only) == Forgotten(0, 20, 0)
        assert await tables(store) == of_days(0, 1)
        assert await times(store, "other") == [at(number) for number in range(20)]
        only = Scope(definitions=["other"], nodes=[])
        assert await store.forget(2 * DAY, of=only) == Forgotten(20, 20, 0)
        assert await tables(store) == set()


async def test_later_verdict_with_another_time_keeps_the_day(opened: Opened) -> None:
    """An event goes when none of its verdicts is left, and is found by the time of each."""
    async with opened() as store:
        await append(store, range(10), "one")
        late = [verdict(0, 7 * DAY), verdict(1, None)]
        await store.append_events("clicks", [], [Judged("other", late)])
        assert await tables(store) == of_days(0)
        assert await times(store, "other", 7 * DAY) == [7 * DAY]
        assert await store.forget(2 * DAY) == Forgotten(9, 11, 0)
        assert [one.payload for one in await store.events("other", 2 * DAY, FOREVER)] == [b"event 0"]
        assert await store.forget(8 * DAY) == Forgotten(1, 1, 0)
        assert await tables(store) == set()


async def test_odd_times_make_no_tables(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_days, "MOST_DAYS", 2)
    async with opened() as store:
        odd = [verdict(100, None), verdict(101, -5)]
        await store.append_events("clicks", [event(100), event(101)], [Judged("one", odd)])
        assert await tables(store) == set()
        await append(store, range(40), "one")
        assert await tables(store) == of_days(0, 1)
        assert await times(store, "one", -10) == [-5, *(at(number) for number in range(40))]
        assert await store.forget(3 * DAY) == Forgotten(32, 32, 0)
        assert await tables(store) == set()
        assert await times(store, "one", 3 * DAY) == [at(number) for number in range(30, 40)]


async def test_who_reads_a_day_sees_all_of_it(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables are not dropped meanwhile: its rows are deleted, and the tables go another time."""
    monkeypatch.setattr(postgres_days, "PATIENCE", "50ms")
    async with opened() as store:
        await append(store, range(10), "one")

        async def forget_while_reading(connection: Any) -> int:
            before = await connection.fetchval("select count(*) from days where day = 0")
            assert await store.forget(2 * DAY) == Forgotten(10, 10, 0)
            assert before == 1
            return int(await connection.fetchval("select count(*) from verdicts"))

        assert await store._read(forget_while_reading) == 10
        assert await tables(store) == of_days(0)
        assert await store.forget(2 * DAY) == Forgotten(0, 0, 0)
        assert await tables(store) == set()


async def test_older_store_keeps_its_rows(opened: Opened, postgres_address: str) -> None:
    """A store of version 3, with one table each, answers as it did; new days are tables."""
    import asyncpg

    async with opened() as store:
        schema = store._schema
    connection = await asyncpg.connect(postgres_address, server_settings={"search_path": schema})
    try:
        await connection.execute(f"drop schema {schema} cascade; create schema {schema}")
        await connection.execute(postgres_schema._TABLES)
        for version in (1, 2):
            await connection.execute(postgres_schema._LATER[version])
        await connection.execute(
            "insert into store values (1, 3, 4, null); insert into topics (name) values ('clicks'); "
            "insert into definitions (name, topic) values ('one', 1); "
            "insert into keys (name) values ('\"s0\"')"
        )
        body = pack([b"event 0", b"event 1", b"event 2"])
        await connection.execute("insert into blocks (live, body) values (3, $1)", body)
        for number in range(3):
            await connection.execute("insert into events values (1, 0, 0, $1, 5, 1, $2)", number, number)
            await connection.execute(
                "insert into verdicts (definition, partition, major, minor, outcome, key, time, seen) "
                "values (1, 0, 0, $1, $2, 1, $3, 4)",
                number,
                *((4, None) if number == 2 else (0, at(number))),
            )
    finally:
        await connection.close()
    async with opened() as store:
        assert await times(store, "one") == [0, 1]
        assert [one.payload for one in await store.raw_events("clicks", 0, limit=9)] == [
            b"event 0",
            b"event 1",
            b"event 2",
        ]
        await append(store, range(1, 20), "one")
        assert await tables(store) == of_days(0, 1)
        assert await times(store, "one") == [at(n) for n in (0, 1, *range(3, 20))]
        assert await store.forget(DAY) == Forgotten(10, 10, 0)
        assert await tables(store) == of_days(1)
        assert (await store.status()).events == {"clicks": 10}
