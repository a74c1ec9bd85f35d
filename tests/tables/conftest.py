"""Fixtures: each kind of table in turn. PostgreSQL is a real server of this run, or its tests are skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.history.conftest import postgres_address as postgres_address
from timeline_workers.event_tables.open_table import open_table

from .kinds import (
    Kind,
    declare,
    fill_dynamodb,
    fill_jsonl,
    fill_parquet,
    fill_postgres,
    iso,
    make_dynamodb,
    seconds,
    timestamp,
)
from .refusing import refusing

MS = 1000


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for what stays open over all examples."""
    with asyncio.Runner() as runs:
        yield runs


@pytest.fixture(scope="session")
def dynamodb_endpoint() -> Iterator[str]:
    """A server that speaks DynamoDB's protocol: moto's."""
    pytest.importorskip("boto3", reason="boto3 is not here: pip install -e '.[dev]'")
    server = pytest.importorskip("moto.server", reason="moto is not here: pip install -e '.[dev]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        runs = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        runs.start()
        host, port = runs.get_host_and_port()
        yield f"http://{host}:{port}"
        runs.stop()


ALWAYS = ("jsonl-seconds", "parquet-us", "dynamodb-number", "postgres-timestamptz", "redshift-bigint")
FURTHER = (
    *("jsonl-text", "parquet-ns", "parquet-float", "parquet-ms", "dynamodb-text"),
    *("postgres-float", "postgres-numeric", "redshift-timestamp"),
)
KINDS = [*ALWAYS, *(pytest.param(one, marks=pytest.mark.long) for one in FURTHER)]


@pytest.fixture(scope="session", params=KINDS)
def kind(
    request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kind]:
    """A kind of table, open."""
    what, of = str(request.param).split("-")
    folder = tmp_path_factory.mktemp(f"table-{what}-{of}")
    stack = AsyncExitStack()
    made = {
        "jsonl": jsonl,
        "parquet": parquet,
        "dynamodb": dynamodb,
        "postgres": postgres,
        "redshift": redshift,
    }
    yield runner.run(made[what](request, of, folder, stack))
    runner.run(stack.aclose())


async def opened(stack: AsyncExitStack, declaration: Any, *rest: Any) -> Kind:
    table = await open_table("it", declaration)
    stack.push_async_callback(table.close)
    return Kind(table, *rest)


async def jsonl(request: Any, of: str, folder: Path, stack: AsyncExitStack) -> Kind:
    pytest.importorskip("duckdb", reason="duckdb is not here: pip install -e '.[dev]'")
    path = folder / "events.jsonl"
    fill = fill_jsonl(path, seconds if of == "seconds" else lambda t: iso(t // MS * MS))
    fill([(0, "a", 0)])
    grain = 1 if of == "seconds" else MS
    return await opened(stack, declare(f"jsonl:{path}"), grain, fill, ("a", "b", 1, None))


async def parquet(request: Any, of: str, folder: Path, stack: AsyncExitStack) -> Kind:
    pytest.importorskip("duckdb", reason="duckdb is not here: pip install -e '.[dev]'")
    as_time: Any = {
        "us": timestamp,
        "ns": timestamp,
        "float": lambda t: t / 1_000_000,
        "ms": lambda t: t // MS,
    }
    fill = fill_parquet(folder, of[:2] if of != "float" else "f", as_time[of])
    fill([(0, "a", 0)])
    unit = {"unit": "ms"} if of == "ms" else {}
    declaration = declare(f"parquet:{folder}/*.parquet", columns=["n"], **unit)
    return await opened(stack, declaration, MS if of == "ms" else 1, fill, ("a", "b", "é", None))


async def dynamodb(request: Any, of: str, folder: Path, stack: AsyncExitStack) -> Kind:
    endpoint = request.getfixturevalue("dynamodb_endpoint")
    import boto3

    client = boto3.client("dynamodb", endpoint_url=endpoint)
    stack.callback(client.close)
    make_dynamodb(client, of == "number")
    stack.callback(client.delete_table, TableName="events")
    declaration = declare(
        f"dynamodb:?endpoint={endpoint}",
        table="events",
        index="by-day",
        partitions="%Y-%m-%d",
        since="2023-11-14",
        until="2023-11-17",
        columns=["n"],
        **({"unit": "ms"} if of == "number" else {}),
    )
    return await opened(stack, declaration, MS, fill_dynamodb(client, of == "number"), ("a", "b", None))


async def postgres(request: Any, of: str, folder: Path, stack: AsyncExitStack) -> Kind:
    return await on_postgres(request.getfixturevalue("postgres_address"), "postgresql", of, stack)


async def redshift(request: Any, of: str, folder: Path, stack: AsyncExitStack) -> Kind:
    address = request.getfixturevalue("postgres_address")
    through = await stack.enter_async_context(refusing(address))
    return await on_postgres(address, "redshift", of, stack, through)


async def on_postgres(
    address: str, scheme: str, of: str, stack: AsyncExitStack, through: str | None = None
) -> Kind:
    pytest.importorskip("psycopg", reason="psycopg is not here: pip install -e '.[dev]'")
    types: Any = {
        "timestamptz": ("timestamptz", timestamp),
        "timestamp": ("timestamp", lambda t: timestamp(t).replace(tzinfo=None)),
        "float": ("float8", lambda t: t / 1_000_000),
        "numeric": ("numeric(20, 6)", lambda t: Decimal(t).scaleb(-6)),
        "bigint": ("bigint", lambda t: t // MS),
    }
    fill = fill_postgres(address, *types[of], table=f"of_{of}")
    fill([])
    unit = {"unit": "ms"} if of == "bigint" else {}
    where = (through or address).replace("postgresql", scheme, 1)
    declaration = declare(where, table=f"public.of_{of}", columns=["n"], **unit)
    return await opened(stack, declaration, MS if of == "bigint" else 1, fill, ("a", "b", "%s'", None))
