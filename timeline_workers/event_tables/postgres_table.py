"""``open_postgres``: event tables and views in PostgreSQL (14 or newer) and Amazon Redshift, by its protocol.

Every statement is one text, sent by the simple protocol with its parameters written into it by the driver:
nothing is prepared on the server, no catalog is asked, so that a Redshift or a pooler before the server will
do. No key and no index is needed; an index, or a sort key, on the time column makes windows quick. The types
that a column may have are told by its name in ``_TIMES`` and ``_KEYS``.

The driver is the extra ``tables-postgres``. Errors: see ``EventTable``; TableError where it is not installed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from timeline_workers.errors import ConnectionFailedError, TableError

from .declaration import TableDeclaration, check_column
from .event_table import EventRow
from .json_values import json_value, payload_of
from .sql_statements import Asked, KeyColumns, Statements, quoted
from .sql_table import SqlTable
from .time_column import Kind, TimeColumn

CONNECTIONS: Final = 4
PATIENCE: Final = 30  # seconds for a connection, and for an answer
_TIMES: Final[dict[str, Kind]] = {
    "timestamp": "timestamp",
    "timestamptz": "zoned",
    "date": "date",
    "int2": "int",
    "int4": "int",
    "int8": "int",
    "float8": "float",
    "numeric": "decimal",
}
_TEXTS: Final = frozenset({"text", "varchar", "bpchar", "name", "uuid"})
_INTS: Final = frozenset({"int2", "int4", "int8"})


async def open_postgres(name: str, declared: TableDeclaration) -> SqlTable:
    """Open a table; its columns are looked at, its rows are not."""
    try:
        import psycopg_pool
        from psycopg import AsyncClientCursor, AsyncConnection
    except ImportError:  # psycopg without a libpq says so by an ImportError
        raise TableError(
            f"table {name!r}: a table in PostgreSQL or Redshift needs psycopg: "
            "pip install 'timeline-workers[tables-postgres]'"
        ) from None

    async def configure(connection: AsyncConnection[Any]) -> None:
        await connection.execute("set timezone to 'UTC'")
        await connection.execute(f"set statement_timeout to {PATIENCE * 1000}")

    rest = declared.address.partition(":")[2]
    pool = psycopg_pool.AsyncConnectionPool(
        f"postgresql:{rest}",
        min_size=1,
        max_size=CONNECTIONS,
        open=False,
        configure=configure,
        timeout=PATIENCE,
        reconnect_timeout=PATIENCE,
        kwargs={
            "autocommit": True,
            "prepare_threshold": None,
            "cursor_factory": AsyncClientCursor,
            "client_encoding": "utf8",
            "application_name": "timeline tables",
            "connect_timeout": PATIENCE,
        },
    )
    table = _Opened(name, declared, pool)
    try:
        await table.connect()
        return await table.described()
    except BaseException:
        await pool.close()
        raise


class _Opened:
    """A pool of connections, and what a table is on the other side of it."""

    def __init__(self, name: str, declared: TableDeclaration, pool: Any) -> None:
        self._name, self._declared, self._pool = name, declared, pool
        self._table = ".".join(quoted(part) for part in str(declared.table).split("."))

    async def connect(self) -> None:
        """Wait until one connection is there; what is wrong with the address is told by connecting once."""
        from psycopg import AsyncConnection

        async with self._explained():
            once = await AsyncConnection.connect(
                self._pool.conninfo, **{**self._pool.kwargs, "connect_timeout": 5}
            )
            await once.close()
            await self._pool.open()

    async def ask(self, asked: Asked) -> list[tuple[Any, ...]]:
        """The rows of an answer."""
        async with self._explained(), self._pool.connection() as connection:
            return list(await (await connection.execute(asked.text, asked.values)).fetchall())

    async def described(self) -> SqlTable:
        """The table, by the columns that it has."""
        declared = self._declared
        async with self._explained(), self._pool.connection() as connection:
            cursor = await connection.execute(f"select * from {self._table} limit 0")
            types = {one.name: one.type_display.partition("(")[0] for one in cursor.description}
        named = {"time": declared.time, "key": declared.key, "payload": declared.payload}
        named["position"] = declared.position
        for what, column in [*named.items(), *(("columns", one) for one in declared.columns or ())]:
            if column is not None:
                check_column(what, column, types, self._said)
        times = self._times(types[declared.time])
        keys = None if declared.key is None else self._keys(types[declared.key])
        shown = [declared.payload] if declared.payload else list(declared.columns or types)
        beside = [one for one in (declared.time, declared.key, declared.position) if one is not None]
        statements = Statements(
            self._table,
            quoted(declared.time),
            ", ".join(quoted(column) for column in [*beside, *shown]),
        )

        def read_row(row: tuple[Any, ...]) -> EventRow:
            values = iter(row)
            time = times.instant(next(values))
            key = _key(next(values)) if declared.key else None
            position = _position(next(values)) if declared.position else None
            if declared.payload:
                payload = payload_of(next(values))
            else:
                payload = {name: json_value(value) for name, value in zip(shown, values, strict=True)}
            assert time is not None, "windows end where years do"
            return EventRow(time, key, payload, position)

        return SqlTable(statements, times, keys, self.ask, read_row, self._pool.close)

    @property
    def _said(self) -> str:
        return f"table {self._name!r} ({self._declared.shown()})"

    def _times(self, said: str) -> TimeColumn:
        column = self._declared.time
        if said not in _TIMES:
            raise TableError(
                f"{self._said}: its time column {column!r} is {said}, and a time is a timestamp or a number "
                f"({', '.join(_TIMES)}); name another, or read a view that casts it"
            )
        if self._declared.unit is not None and _TIMES[said] in ("timestamp", "zoned", "date"):
            raise TableError(
                f"{self._said}: unit is {self._declared.unit!r}, but its time column {column!r} is {said}, "
                "which has none; leave unit out"
            )
        return TimeColumn(_TIMES[said], self._declared.unit or "s")

    def _keys(self, said: str) -> KeyColumns:
        column = quoted(str(self._declared.key))
        if said in _TEXTS:
            return _Uuids(texts=column) if said == "uuid" else KeyColumns(texts=column)
        if said in _INTS:
            return KeyColumns(ints=column)
        raise TableError(
            f"{self._said}: its key column {self._declared.key!r} is {said}, and keys are texts or whole "
            f"numbers ({', '.join(sorted(_TEXTS | _INTS))}); name another, or read a view that casts it"
        )

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        """What the driver raises as errors of ours."""
        import psycopg
        import psycopg_pool

        try:
            yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            raise TableError(
                f"{self._said}: there is no such table or view; name one, with its schema: table: schema.name"
            ) from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise TableError(f"{self._said}: {_line(error)}; grant select on it to this user") from None
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
            raise ConnectionFailedError(
                f"{self._said} does not answer: {_line(error)}; is the server up, and the address right?",
                may_pass=True,
            ) from None
        except psycopg.Error as error:
            raise TableError(f"{self._said}: {_line(error)}") from None


class _Uuids(KeyColumns):
    """Keys are the text of a UUID; what is none has no rows."""

    __slots__ = ()

    def condition(self, keys: Any) -> Asked | None:
        """See ``KeyColumns``."""
        return KeyColumns.condition(self, [key for key in keys if _is_uuid(key)])


def _is_uuid(key: Any) -> bool:
    try:
        return isinstance(key, str) and str(UUID(key)) == key
    except ValueError:
        return False


def _key(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else str(value)


def _position(value: Any) -> int | str | None:
    found = json_value(value)
    return found if found is None or isinstance(found, int | str) else str(found)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
