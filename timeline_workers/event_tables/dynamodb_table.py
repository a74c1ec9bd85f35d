"""``open_dynamodb``: event tables in DynamoDB, by queries of its sort key; a table is never scanned.

The time is the sort key of the table, or of the ``index`` that is named: a number of ``unit``, or ISO 8601
text of one form in UTC, which sorts as its times do. A window is one query for each partition that it
meets. Partitions are

* the keys that are asked for, where the partition attribute is the ``key``: a channel has to name them then;
* those that the declaration lists (``partitions: [a, b]``);
* or, by a pattern of ``strftime`` (``partitions: "%Y-%m-%d"``, UTC), those of the times of the window. The
  least and the greatest time are then looked for from ``since`` on, and from ``until``, or now, back.

Regions, credentials and endpoints are those of AWS's own settings (``AWS_DEFAULT_REGION``, ``AWS_PROFILE``,
``AWS_ENDPOINT_URL_DYNAMODB``, …). The extra is ``tables-dynamodb``. Errors: see ``EventTable``.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeVar

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import ConnectionFailedError, EventError, TableError
from timeline_workers.events.times import EARLIEST, LATEST, from_microseconds, to_microseconds

from .declaration import TableDeclaration
from .dynamodb_partitions import partitions_of
from .event_table import EventRow, Extent, Rows, in_order, whole_instants
from .json_values import json_value, payload_of
from .time_column import TimeColumn

T = TypeVar("T")
SECOND: Final = 1_000_000
AT_ONCE: Final = 8  # queries under way
FEWEST: Final = 20  # rows that are asked of a partition


@dataclass(frozen=True, slots=True)
class _Keys:
    """The two attributes of a key, and whether the sort key is a number."""

    partition: str
    sort: str
    is_number: bool
    partition_is_number: bool


async def open_dynamodb(name: str, declared: TableDeclaration) -> DynamoDbTable:
    """Open a table; how its keys are made is looked at, its items are not."""
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError:
        raise TableError(
            f"table {name!r}: a table in DynamoDB needs boto3: "
            "pip install 'timeline-workers[tables-dynamodb]'"
        ) from None
    region, _, query = declared.place.partition("?")
    options = dict(part.split("=", 1) for part in query.split("&") if "=" in part)
    said = f"table {name!r} ({declared.shown()})"

    def described() -> tuple[Any, Any]:
        client = boto3.client(
            "dynamodb",
            region_name=region or None,
            endpoint_url=options.get("endpoint"),
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 4},
                connect_timeout=5,
                read_timeout=30,
                max_pool_connections=AT_ONCE,
            ),
        )
        return client, client.describe_table(TableName=str(declared.table))["Table"]

    client, table = await _explained(said, described)
    keys = _keys_of(table, declared, said)
    return DynamoDbTable(client, declared, keys, said)


class DynamoDbTable:
    """See the module and ``EventTable``. Made by ``open_dynamodb``."""

    def __init__(self, client: Any, declared: TableDeclaration, keys: _Keys, said: str) -> None:
        self._client, self._declared, self._keys, self._said = client, declared, keys, said
        self._partitions = partitions_of(declared, keys.partition, keys.partition_is_number, said)
        self.needs_keys = declared.partitions is None
        self._times = TimeColumn("decimal", declared.unit or "s")
        self._few = asyncio.Semaphore(AT_ONCE)

    async def rows(self, start: int, end: int, *, keys: Sequence[Key] | None, limit: int) -> Rows:
        """See ``EventTable``."""
        partitions = self._partitions.of(start, end, keys)
        if start >= end or not partitions:
            return Rows(end, [])
        many = max(2 * limit // len(partitions), FEWEST)
        found = await self._each(partitions, lambda one: self._read(one, start, end, keys, many))
        upto = min(place for place, _ in found)
        rows = sorted((row for _, part in found for row in part if row.time < upto), key=lambda row: row.time)
        whole = whole_instants(rows, upto, limit)
        if whole is None:  # one instant with more than the limit, all of which is here
            first = rows[0].time
            return Rows(first + 1, in_order(row for row in rows if row.time == first))
        return whole

    async def counts(self, edges: Sequence[int], *, keys: Sequence[Key] | None) -> list[int]:
        """See ``EventTable``: every time in it is read, nothing else."""
        found = [0] * (len(edges) - 1)
        if not found or edges[0] >= edges[-1]:
            return found

        def count(partition: Any) -> list[int]:
            mine = [0] * len(found)
            for time, _ in self._items(partition, edges[0], edges[-1], keys, only_times=True):
                mine[bisect_right(edges, time) - 1] += 1
            return mine

        for part in await self._each(self._partitions.of(edges[0], edges[-1], keys), count):
            found = [one + other for one, other in zip(found, part, strict=True)]
        return found

    async def neighbour(self, at: int, *, back: bool, keys: Sequence[Key] | None) -> int | None:
        """See ``EventTable``."""
        start, end = (EARLIEST, at) if back else (at + 1, LATEST + 1)
        return await self._most(start, end, back, keys)

    async def extent(self, *, keys: Sequence[Key] | None) -> Extent | None:
        """See ``EventTable``."""
        last = await self._most(EARLIEST, LATEST + 1, True, keys)
        first = None if last is None else await self._most(EARLIEST, LATEST + 1, False, keys)
        return None if first is None or last is None else Extent(first, last)

    async def close(self) -> None:
        """See ``EventTable``."""
        self._client.close()

    async def _each(self, partitions: Sequence[Any], ask: Callable[[Any], T]) -> list[T]:
        """Ask of every partition, some at once, each in a thread."""

        async def one(partition: Any) -> T:
            async with self._few:
                return await _explained(self._said, lambda: ask(partition))

        return await asyncio.gather(*map(one, partitions))

    async def _most(self, start: int, end: int, back: bool, keys: Sequence[Key] | None) -> int | None:
        """The greatest (``back``) or least time in a window: groups of partitions are asked in turn."""

        def first(partition: Any) -> int | None:
            page = 1 if self._keys.is_number else FEWEST
            times = self._items(partition, start, end, keys, only_times=True, back=back, page=page)
            found = next(times, None)
            if found is None or self._keys.is_number:
                return None if found is None else found[0]
            second, best = found[0] // SECOND, found[0]
            for time, _ in times:  # texts of one second may lie in another order
                if time // SECOND != second:
                    break
                best = max(best, time) if back else min(best, time)
            return best

        for group in self._partitions.in_turn(start, end, keys, back=back):
            times = [time for time in await self._each(group, first) if time is not None]
            if times:
                return max(times) if back else min(times)
        return None

    def _read(
        self, partition: Any, start: int, end: int, keys: Sequence[Key] | None, many: int
    ) -> tuple[int, list[EventRow]]:
        """Rows of a partition, and below which time they are all that there are: some more than ``many``."""
        rows: list[EventRow] = []
        for time, item in self._items(partition, start, end, keys, page=many + 1):
            grain = time // self._grain
            if len(rows) >= many and grain != rows[-1].time // self._grain:
                return grain * self._grain, rows
            rows.append(self._row(time, item))
        return end, rows

    @property
    def _grain(self) -> int:
        """Times in one stretch of so many microseconds may come in any order: as texts they may."""
        return 1 if self._keys.is_number else SECOND

    def _items(
        self,
        partition: Any,
        start: int,
        end: int,
        keys: Sequence[Key] | None,
        *,
        only_times: bool = False,
        back: bool = False,
        page: int | None = None,
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Times and items of a partition, in the order of the sort key, page by page."""
        from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

        say, understand = TypeSerializer().serialize, TypeDeserializer().deserialize
        wanted = None if keys is None else set(keys)
        names = {"#p": self._keys.partition, "#t": self._keys.sort}
        query: dict[str, Any] = {
            "TableName": self._declared.table,
            "KeyConditionExpression": "#p = :p and #t between :low and :high",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                ":p": say(partition),
                ":low": say(self._bound(start)),
                ":high": say(self._bound(end, is_end=True)),
            },
            "ScanIndexForward": not back,
        }
        if page is not None:
            query["Limit"] = page
        if self._declared.index is not None:
            query["IndexName"] = self._declared.index
        key = self._declared.key
        if only_times:
            query["ProjectionExpression"] = "#t"
            if wanted is not None and key not in (None, self._keys.partition):
                names["#k"] = key
                query["ProjectionExpression"] = "#t, #k"
        while True:
            found = self._client.query(**query)
            for said in found["Items"]:
                item = {name: understand(value) for name, value in said.items()}
                time = self._time(item[self._keys.sort])
                if time is None or not start <= time < end:
                    continue
                if wanted is not None and key != self._keys.partition and _key(item.get(key)) not in wanted:
                    continue
                yield time, item
            if "LastEvaluatedKey" not in found:
                return
            query["ExclusiveStartKey"] = found["LastEvaluatedKey"]

    def _row(self, time: int, item: dict[str, Any]) -> EventRow:
        declared = self._declared
        key = _key(item.get(declared.key)) if declared.key else None
        position = json_value(item.get(declared.position)) if declared.position else None
        if declared.payload is not None:
            payload = payload_of(item.get(declared.payload))
        else:
            chosen = item if declared.columns is None else {name: item.get(name) for name in declared.columns}
            payload = {name: json_value(value) for name, value in chosen.items()}
        placed = position if position is None or isinstance(position, int | str) else str(position)
        return EventRow(time, key, payload, placed)

    def _bound(self, instant: int, *, is_end: bool = False) -> Any:
        """A value of the sort key that is not after an instant; at the end of a window one not before."""
        if self._keys.is_number:
            return self._times.bound(instant)
        second = min(max(instant + (SECOND - 1 if is_end else 0), EARLIEST), LATEST) // SECOND
        text = str(from_microseconds(second * SECOND, "iso")).removesuffix("Z")
        return f"{text}~" if is_end else text  # after everything that begins like it

    def _time(self, value: Any) -> int | None:
        if isinstance(value, Decimal):
            return self._times.instant(value)
        try:
            found = to_microseconds(value, "iso")
        except EventError as error:
            raise TableError(
                f"{self._said}: its sort key {self._keys.sort!r} has no times: {error}"
            ) from None
        if str(value)[:19] != str(from_microseconds(found, "iso"))[:19]:
            raise TableError(
                f"{self._said}: its sort key {self._keys.sort!r} has {value!r}, which does not sort as its "
                "time does; write all times in UTC, as 2024-05-01T12:30:00Z"
            )
        return found


def _key(value: Any) -> Key | None:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    return value if isinstance(value, str) else None


def _keys_of(table: dict[str, Any], declared: TableDeclaration, said: str) -> _Keys:
    """The key of the table or index. Raises TableError where its sort key is not the time."""
    schema, what = table["KeySchema"], "the table"
    if declared.index is not None:
        indexes = {
            one["IndexName"]: one["KeySchema"]
            for kind in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")
            for one in table.get(kind, ())
        }
        if declared.index not in indexes:
            known = ", ".join(map(repr, indexes)) or "none"
            raise TableError(f"{said}: there is no index {declared.index!r}; there are {known}")
        schema, what = indexes[declared.index], f"index {declared.index!r}"
    names = {one["KeyType"]: one["AttributeName"] for one in schema}
    if names.get("RANGE") != declared.time:
        has = f"sorted by {names['RANGE']!r}" if "RANGE" in names else "without a sort key"
        raise TableError(
            f"{said}: {what} is {has}, not by the time {declared.time!r}, so that a window could only be "
            "read by scanning it; name an index whose sort key is the time: index: …"
        )
    types = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    if types[declared.time] == "B" or types[names["HASH"]] == "B":
        raise TableError(f"{said}: the key of {what} has bytes, and is to be a number or text; name an index")
    if types[declared.time] == "S" and declared.unit is not None:
        raise TableError(
            f"{said}: unit is {declared.unit!r}, but its times are text, which has none; leave unit out"
        )
    return _Keys(names["HASH"], declared.time, types[declared.time] == "N", types[names["HASH"]] == "N")


async def _explained(said: str, ask: Callable[[], T]) -> T:
    """Ask in a thread; what boto3 raises as errors of ours."""
    from botocore import exceptions

    try:
        return await asyncio.to_thread(ask)
    except exceptions.ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if code == "ResourceNotFoundException":
            raise TableError(f"{said}: there is no such table in this region; name one: table: …") from None
        if code.endswith("ThroughputExceededException") or code in (
            "ThrottlingException",
            "InternalServerError",
        ):
            raise ConnectionFailedError(f"{said} does not answer: {code}: {message}", may_pass=True) from None
        raise TableError(f"{said}: {code}: {message}") from None
    except (
        exceptions.NoRegionError,
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
    ) as error:
        raise TableError(f"{said}: {error}; set AWS_DEFAULT_REGION and AWS_PROFILE, or the like") from None
    except exceptions.BotoCoreError as error:
        raise ConnectionFailedError(f"{said} does not answer: {error}", may_pass=True) from None
