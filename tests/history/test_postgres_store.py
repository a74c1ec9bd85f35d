"""The PostgreSQL store's own: what a schema may be, and a server that is away."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import pytest

from deploy.cluster_ports import free_ports
from timeline_workers.errors import HistoryError, NoHistoryError, SettingsError
from timeline_workers.history.model import Position, RawEvent
from timeline_workers.history.postgres_store import PostgresStore


async def test_server_that_is_away_may_come_back(postgres_address: str) -> None:
    """An open connection that is ended fails one call at most, and the next is answered."""
    store = await PostgresStore.open(postgres_address, schema="away")
    try:
        await store.append_events("t", [RawEvent(Position(0, 0, 0), b"a")])
        other = await PostgresStore.open(postgres_address, schema="away")
        async with other._pool.acquire() as connection:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                "and application_name = 'timeline history'"
            )
        await other.close()
        with suppress(HistoryError):
            await store.append_events("t", [RawEvent(Position(0, 0, 1), b"b")])
        await store.append_events("t", [RawEvent(Position(0, 0, 1), b"b")])
        assert (await store.status()).events == {"t": 2}
    finally:
        await store.close()


async def test_nobody_at_the_address_is_an_error() -> None:
    pytest.importorskip("asyncpg")
    (port,) = free_ports(1)
    with pytest.raises(HistoryError, match="does not answer") as refused:
        await PostgresStore.open(f"postgresql://me@127.0.0.1:{port}/nothing")
    assert refused.value.may_pass


async def test_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(SettingsError, match=r"pip install 'timeline-workers\[history-postgres\]'"):
        await PostgresStore.open("postgresql://me@there/db")


async def test_schema_names_are_plain() -> None:
    with pytest.raises(SettingsError, match="schema 'a; drop' is no name"):
        await PostgresStore.open("postgresql://me@there/db", schema="a; drop")


async def test_schema_of_another_program_is_left_alone(postgres_address: str) -> None:
    store = await PostgresStore.open(postgres_address, schema="ours")
    try:
        async with store._pool.acquire() as connection:
            await connection.execute("create schema theirs")
            await connection.execute("create table theirs.things (x integer)")
    finally:
        await store.close()
    with pytest.raises(HistoryError, match="'theirs' has tables of another program"):
        await PostgresStore.open(postgres_address, schema="theirs")
    for _ in range(2):  # who looks makes none
        with pytest.raises(NoHistoryError, match=r"^no history at postgres"):
            await PostgresStore.open(postgres_address, schema="nobodys", create=False)
    await (await PostgresStore.open(postgres_address, schema="ours", create=False)).close()


async def test_many_open_a_new_schema_at_once(postgres_address: str) -> None:
    stores = await asyncio.gather(*(PostgresStore.open(postgres_address, schema="fresh") for _ in range(4)))
    for place, store in enumerate(stores):
        assert (await store.append_events("t", [RawEvent(Position(0, 0, place), b"a")])).fresh
    assert {(await store.status()).events["t"] for store in stores} == {4}
    for store in stores:
        await store.close()
