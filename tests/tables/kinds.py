"""The kinds of tables that conformance is tested on: each is filled anew for every example."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from timeline_workers.event_tables.declaration import TableDeclaration
from timeline_workers.event_tables.event_table import EventRow, EventTable
from timeline_workers.events.times import from_microseconds

SECOND = 1_000_000
Stored = tuple[int, Any, int]  # time, key, what is said


@dataclass(frozen=True)
class Kind:
    """``grain``: of its times, microseconds; ``fill`` replaces its rows; ``shown``: what ``n`` is beside."""

    table: EventTable
    grain: int
    fill: Callable[[Sequence[Stored]], None]
    keys: tuple[Any, ...]  # some that rows may have

    def expected(self, stored: Stored) -> EventRow:
        """A row as the table gives it, but for columns beside ``n``."""
        time, key, said = stored
        return EventRow(time // self.grain * self.grain, key, {"n": said})


def seconds(time: int) -> float | int:
    """A time as JSON lines have it."""
    return from_microseconds(time, "s")  # type: ignore[return-value]


def timestamp(time: int) -> datetime:
    """A time as databases have it."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)


def jsonl_lines(rows: Sequence[Stored], as_time: Callable[[int], Any]) -> str:
    """Events a line, in the order that is given."""
    lines = [{"t": as_time(time), "k": key, "n": said} for time, key, said in rows]
    return "".join(json.dumps(one) + "\n" for one in lines)


def fill_jsonl(path: Path, as_time: Callable[[int], Any]) -> Callable[[Sequence[Stored]], None]:
    """Puts another file in the place of the one that was there."""

    def fill(rows: Sequence[Stored]) -> None:
        written = path.with_suffix(".new")
        written.write_text(jsonl_lines(rows, as_time))
        written.replace(path)

    return fill


def fill_parquet(folder: Path, of_type: str, as_time: Callable[[int], Any]) -> Callable[[Any], None]:
    """Writes two files instead of those that were there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = [0]
    type_of = {"us": pa.timestamp("us", "UTC"), "ns": pa.timestamp("ns"), "f": pa.float64(), "ms": pa.int64()}
    schema = pa.schema([("t", type_of[of_type]), ("k", pa.string()), ("n", pa.int64())])

    def fill(rows: Sequence[Stored]) -> None:
        for old in folder.iterdir():
            old.unlink()
        for part in (rows[::2], rows[1::2]):
            columns = [[as_time(one[0]) for one in part], *([one[i] for one in part] for i in (1, 2))]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            written[0] += 1
            pq.write_table(pa.Table.from_arrays(arrays, schema=schema), folder / f"{written[0]}.parquet")

    return fill


def fill_postgres(address: str, of_type: str, as_time: Callable[[int], Any], table: str) -> Any:
    """Makes a table without any key or index, and fills it."""
    import psycopg

    def fill(rows: Sequence[Stored]) -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"create table if not exists {table} (t {of_type}, k text, n int, more jsonb)")
            connection.execute(f"truncate {table}")
            values = [(as_time(time), key, said) for time, key, said in rows]
            connection.cursor().executemany(f"insert into {table} values (%s, %s, %s, null)", values)

    return fill


def fill_dynamodb(client: Any, is_number: bool) -> Callable[[Sequence[Stored]], None]:
    """Replaces the items of a table by number, with an index by day and time."""
    before: list[int] = []

    def fill(rows: Sequence[Stored]) -> None:
        for number in before:
            client.delete_item(TableName="events", Key={"id": {"N": str(number)}})
        before[:] = range(len(rows))
        for number, (time, key, said) in enumerate(rows):
            at = {"N": str(Decimal(time // 1000))} if is_number else {"S": iso(time)}
            item = {"id": {"N": str(number)}, "day": {"S": iso(time)[:10]}, "t": at, "n": {"N": str(said)}}
            client.put_item(TableName="events", Item=item | ({} if key is None else {"k": {"S": key}}))

    return fill


def iso(time: int) -> str:
    """A time as text of one form."""
    return f"{timestamp(time):%Y-%m-%dT%H:%M:%S}.{time // 1000 % 1000:03}Z"


def make_dynamodb(client: Any, is_number: bool) -> None:
    """A table with an index by day and time."""
    types = {"id": "N", "day": "S", "t": "N" if is_number else "S"}
    client.create_table(
        TableName="events",
        AttributeDefinitions=[{"AttributeName": one, "AttributeType": of} for one, of in types.items()],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-day",
                "KeySchema": [
                    {"AttributeName": "day", "KeyType": "HASH"},
                    {"AttributeName": "t", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def declare(address: str, **said: Any) -> TableDeclaration:
    """A declaration of time ``t`` and key ``k``, of which ``n`` is the event."""
    return TableDeclaration.model_validate({"address": address, "time": "t", "key": "k", **said})
