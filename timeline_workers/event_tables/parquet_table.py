"""``open_parquet``: event tables in Parquet files, one or all that a pattern names (``events/*/*.parquet``).

DuckDB reads only the row groups whose extents meet a window, so that files whose rows lie by time, or one
file a day, are quick to ask. Files that come later are seen when they are asked for. The extra is
``tables-files``. Errors: see ``EventTable``.
"""

from __future__ import annotations

from typing import Any, Final

from timeline_workers.errors import TableError

from .declaration import TableDeclaration, check_column
from .duckdb_session import DuckSession
from .event_table import EventRow
from .json_values import json_value, payload_of, unquoted
from .sql_statements import Asked, KeyColumns, Statements, quoted
from .sql_table import SqlTable
from .time_column import Kind, TimeColumn

_TIMES: Final[dict[str, Kind]] = {
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "nanoseconds",
    "TIMESTAMP WITH TIME ZONE": "zoned",
    "DATE": "date",
    "DOUBLE": "float",
    "DECIMAL": "decimal",
}
_INTS: Final = frozenset(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", ""))
_INTS_OF_DUCKDB: Final = frozenset({*_INTS, "INTEGER", "UINTEGER"})
_MICROSECONDS: Final = frozenset({"timestamp", "nanoseconds", "zoned"})


async def open_parquet(name: str, declared: TableDeclaration) -> SqlTable:
    """Open files; their columns are looked at, their rows are not."""
    said = f"table {name!r} ({declared.shown()})"
    session = DuckSession.open(name, said)
    try:
        files = "read_parquet(%s, union_by_name = true)"
        described = await session.ask(Asked(f"describe select * from {files}", [declared.place]))
        types = {str(row[0]): str(row[1]).partition("(")[0] for row in described}
        return _table(declared, said, session, files, types)
    except BaseException:
        await session.close()
        raise


def _table(
    declared: TableDeclaration, said: str, session: DuckSession, files: str, types: dict[str, str]
) -> SqlTable:
    named = {"time": declared.time, "key": declared.key, "payload": declared.payload}
    named["position"] = declared.position
    for what, column in [*named.items(), *(("columns", one) for one in declared.columns or ())]:
        if column is not None:
            check_column(what, column, types, said)
    times = _times(declared, types[declared.time], said)
    time = quoted(declared.time)
    shown = "{}" if times.kind not in _MICROSECONDS else "epoch_us({})"
    if declared.payload is not None:
        event = f"to_json({quoted(declared.payload)})"
    elif declared.columns is not None:
        event = f"to_json(struct_pack({', '.join(f'{quoted(c)} := {quoted(c)}' for c in declared.columns)}))"
    else:
        event = "to_json(src)"
    beside = [quoted(one) for one in (declared.key, declared.position) if one is not None]
    statements = Statements(
        f"{files} as src", time, ", ".join([shown.format(time), *beside, event]), (declared.place,)
    )

    def instant(value: Any) -> int | None:
        return int(value) if times.kind in _MICROSECONDS else times.instant(value)

    def read_row(row: tuple[Any, ...]) -> EventRow:
        values = iter(row)
        at = instant(next(values))
        key = next(values) if declared.key else None
        position = json_value(next(values)) if declared.position else None
        assert at is not None, "windows end where years do"
        shown_key = key if key is None or isinstance(key, int) else str(key)
        placed = position if position is None or isinstance(position, int | str) else str(position)
        return EventRow(at, shown_key, payload_of(unquoted(next(values))), placed)

    keys = None if declared.key is None else _keys(declared.key, types[declared.key], said)
    return SqlTable(
        statements, times, keys, session.ask, read_row, session.close, extreme=shown, instant=instant
    )


def _times(declared: TableDeclaration, said_type: str, said: str) -> TimeColumn:
    kind = "int" if said_type in _INTS_OF_DUCKDB else _TIMES.get(said_type)
    if kind is None:
        known = ", ".join([*_TIMES, "BIGINT", "…"])
        raise TableError(
            f"{said}: its time column {declared.time!r} is {said_type}, and a time is a timestamp or a "
            f"number ({known}); name another, or write the files with a cast"
        )
    if declared.unit is not None and kind in ("timestamp", "nanoseconds", "zoned", "date"):
        raise TableError(
            f"{said}: unit is {declared.unit!r}, but its time column {declared.time!r} is {said_type}, which "
            "has none; leave unit out"
        )
    return TimeColumn(kind, declared.unit or "s")


def _keys(key: str, said_type: str, said: str) -> KeyColumns:
    if said_type == "VARCHAR":
        return KeyColumns(texts=quoted(key))
    if said_type in _INTS_OF_DUCKDB:
        return KeyColumns(ints=quoted(key))
    raise TableError(
        f"{said}: its key column {key!r} is {said_type}, and keys are texts (VARCHAR) or whole numbers; name "
        "another, or write the files with a cast"
    )
