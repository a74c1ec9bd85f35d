"""Declarations of event tables: mistakes are named, with the rule and the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from timeline_workers.errors import ConnectionFailedError, TableError
from timeline_workers.event_tables.declaration import read_tables, tables_of
from timeline_workers.event_tables.open_table import OpenTables

from .kinds import declare, fill_jsonl, seconds

SAID: dict[str, Any] = {"address": "postgresql://me:secret@db/a", "table": "t", "time": "at"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"adress": "x"}, "table 'it': there is no field 'adress'; did you mean address?"),
        ({"time": None}, "table 'it': time: None is not text; put it in quotes"),
        ({"address": "parket:x"}, r"'parket:x' begins with no kind of a table \(did you mean parquet:\?\)"),
        ({"address": "jsonl:x"}, "table is for databases; a file's address is enough, so leave table out"),
        ({"table": None}, "table is missing: which table or view of the database to read"),
        ({"payload": "p", "columns": ["c"]}, "payload and columns both say what the event is"),
        ({"index": "i"}, "index is for tables of DynamoDB; leave it out"),
        ({"settle": "2 fortnights"}, "table 'it': settle is '2 fortnights': "),
        (
            {"unit": "minutes"},
            "unit: 'minutes' is not one of the words that go here; write 's', 'ms'",
        ),
    ],
)
def test_mistakes_name_field_rule_and_fix(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        tables_of({"tables": {"it": {**SAID, **changed}}}, folder=Path())


def test_paths_are_relative_and_passwords_hidden(tmp_path: Path) -> None:
    file = tmp_path / "tables.yaml"
    file.write_text("tables:\n  a:\n    address: jsonl:x.jsonl\n    time: t\n")
    assert read_tables(file)["a"].place == str(tmp_path / "x.jsonl")
    assert declare(**SAID | {"time": "t"}).shown() == "postgresql://me:…@db/a, table t"
    with pytest.raises(TableError, match="no such file or directory; name a YAML file that declares tables"):
        read_tables(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"time": "at"}, "none of its 2 lines has the time 'at'; they have 'k', 'n', 't'"),
        ({"unit": "ns", "time": "k"}, "unit is 'ns', but its times are text, which has none; leave it out"),
        ({"time": "k"}, "k in line 1 is a, which is not ISO 8601 text"),
    ],
)
async def test_lines_that_are_no_events_are_named(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    pytest.importorskip("duckdb")
    fill_jsonl(tmp_path / "x.jsonl", seconds)([(1, "a", 1), (2, "b", 2)])
    tables = OpenTables({"it": declare(f"jsonl:{tmp_path}/x.jsonl").model_copy(update=said)})
    with pytest.raises(TableError, match=message):
        await tables.table("it")


async def test_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """Also by one that ends like it."""
    pytest.importorskip("duckdb")
    fill = fill_jsonl(tmp_path / "x.jsonl", seconds)
    fill([(1, "a", 1), *[(2, "b", 2)] * 20])
    tables = OpenTables({"it": declare(f"jsonl:{tmp_path}/x.jsonl")})
    table = await tables.table("it")
    for rows in ([(7, "a", 1), *[(2, "b", 2)] * 20], [(8, "a", 1), *[(2, "b", 2)] * 21], [(9, "a", 1)]):
        fill(rows)
        assert await table.counts([1, 7, 8, 9, 10], keys=["a"]) == [
            int(at == rows[0][0]) for at in (1, 7, 8, 9)
        ]
        assert await table.counts([2, 3], keys=None) == [len(rows) - 1]
    await tables.close()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"table": "public.nothing"}, "there is no such table or view; name one, with its schema"),
        ({"time": "momnt"}, "has no column 'momnt', which time names; did you mean 'moment'"),
        ({"time": "k"}, "its time column 'k' is text, and a time is a timestamp or a number"),
        ({"key": "more"}, "its key column 'more' is jsonb, and keys are texts or whole numbers"),
        ({"unit": "ms"}, "its time column 'moment' is timestamptz, which has none; leave unit out"),
    ],
)
async def test_columns_of_a_database_are_checked(
    postgres_address: str, said: dict[str, Any], message: str
) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres_address, autocommit=True) as connection:
        connection.execute("create table if not exists checked (moment timestamptz, k text, more jsonb)")
    declared = declare(postgres_address, table="checked").model_copy(update={"time": "moment", **said})
    with pytest.raises(TableError, match=message):
        await OpenTables({"it": declared}).table("it")


async def test_nobody_at_an_address_may_come_back() -> None:
    pytest.importorskip("psycopg")
    declared = declare("postgresql://me@127.0.0.1:1/db", table="t")
    with pytest.raises(ConnectionFailedError, match=r"does not answer: .*is the server up") as refused:
        await OpenTables({"it": declared}).table("it")
    assert refused.value.may_pass


async def test_dynamodb_is_asked_by_its_sort_key(dynamodb_endpoint: str) -> None:
    """A partition for each key: keys have to be named; a table that is not sorted by the time is refused."""
    import boto3

    client = boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)
    client.create_table(
        TableName="by-key",
        AttributeDefinitions=[
            {"AttributeName": "k", "AttributeType": "S"},
            {"AttributeName": "t", "AttributeType": "N"},
        ],
        KeySchema=[
            {"AttributeName": "k", "KeyType": "HASH"},
            {"AttributeName": "t", "KeyType": "RANGE"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    for key, time in [("a", "1.5"), ("b", "1"), ("a", "2")]:
        client.put_item(TableName="by-key", Item={"k": {"S": key}, "t": {"N": time}})
    client.close()
    said = declare(f"dynamodb:?endpoint={dynamodb_endpoint}", table="by-key")
    tables = OpenTables({"it": said, "other": said.model_copy(update={"time": "n"})})
    table = await tables.table("it")
    assert table.needs_keys
    _, rows = await table.rows(0, 2_000_001, keys=["a", "b", 7, ""], limit=9)
    assert [(row.time, row.key) for row in rows] == [(1_000_000, "b"), (1_500_000, "a"), (2_000_000, "a")]
    with pytest.raises(TableError, match="name keys of the channel, or an index with partitions"):
        await table.rows(0, 10, keys=None, limit=9)
    with pytest.raises(TableError, match=r"is sorted by 't', not by the time 'n'.* index: …"):
        await tables.table("other")
    await tables.close()
