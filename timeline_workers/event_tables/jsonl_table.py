"""``open_jsonl``: an event table in a file of JSON lines, one event a line, in any order; it may grow.

The file is read once into a DuckDB of its own, on disk and by time; what is appended is read when it is asked
for next, and a file that was replaced is read anew. A line without its end is read when it is an event as it
is, else when it ends. Lines without the time, or where it is null, are no events.

All times are numbers of one unit, or all are ISO 8601 text; keys are texts or whole numbers, events with
another one have none. The extra is ``tables-files``. Errors: see ``EventTable``; they name the line.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import TableError
from timeline_workers.events.times import EARLIEST, LATEST

from .declaration import TableDeclaration
from .duckdb_session import DuckSession
from .event_table import EventRow, Extent, Rows
from .json_values import payload_of, unquoted
from .sql_statements import Asked, KeyColumns, Statements
from .sql_table import SqlTable
from .time_column import TimeColumn

_PIECE: Final = 1 << 20
_TAIL: Final = 256
_LONGEST_LINE: Final = 16 << 20
_FACTOR: Final = {"s": "1000000", "ms": "1000", "us": "1", "ns": "0.001"}  # exact decimals


async def open_jsonl(name: str, declared: TableDeclaration) -> JsonlTable:
    """Open a file, and read it."""
    table = JsonlTable(name, declared)
    try:
        await table.refresh()
    except BaseException:
        await table.close()
        raise
    return table


class JsonlTable:
    """See the module and ``EventTable``. Made by ``open_jsonl``."""

    def __init__(self, name: str, declared: TableDeclaration) -> None:
        self.needs_keys = False
        self._declared, self._path = declared, Path(declared.place)
        self._said = f"table {name!r} ({declared.shown()})"
        self._session = DuckSession.open(name, self._said)
        self._reading = asyncio.Lock()
        self._known: tuple[int, int, int] | None = None  # the file as it was looked at last
        self._tail = b""  # the last of what was read
        self._read = self._lines = 0
        self._times: tuple[str, int] | None = None  # what all times are, as the first one, in which line
        self._table = SqlTable(
            Statements("events", "t", "t, kt, ki, p, e"),
            TimeColumn("int", "us"),
            None if declared.key is None else KeyColumns("kt", "ki"),
            self._session.ask,
            _read_row,
            self._session.close,
        )

    async def rows(self, start: int, end: int, *, keys: Sequence[Key] | None, limit: int) -> Rows:
        """See ``EventTable``."""
        await self.refresh()
        return await self._table.rows(start, end, keys=keys, limit=limit)

    async def counts(self, edges: Sequence[int], *, keys: Sequence[Key] | None) -> list[int]:
        """See ``EventTable``."""
        await self.refresh()
        return await self._table.counts(edges, keys=keys)

    async def neighbour(self, at: int, *, back: bool, keys: Sequence[Key] | None) -> int | None:
        """See ``EventTable``."""
        await self.refresh()
        return await self._table.neighbour(at, back=back, keys=keys)

    async def extent(self, *, keys: Sequence[Key] | None) -> Extent | None:
        """See ``EventTable``."""
        await self.refresh()
        return await self._table.extent(keys=keys)

    async def close(self) -> None:
        """See ``EventTable``."""
        await self._table.close()

    async def refresh(self) -> None:
        """Read what the file has by now."""
        async with self._reading:
            try:
                known = self._path.stat()
            except OSError as error:
                raise TableError(f"{self._said}: {error.strerror}; is the path right?") from None
            now = known.st_ino, known.st_size, known.st_mtime_ns
            if now != self._known:
                # What was appended to made it longer: one that is not is another, as one in its place is.
                grew = self._known is not None and now[0] == self._known[0] and now[1] > self._known[1]
                await asyncio.to_thread(self._take, known.st_size, grew)
                self._known = now

    def _take(self, size: int, grew: bool) -> None:
        """Take in the file up to ``size``; from its begin unless it goes on after what was read."""
        if not grew or not self._goes_on():
            self._read = self._lines = 0
            self._times = None
            self._do("create or replace table events (t bigint, kt varchar, ki bigint, p json, e json)")
        piece = Path(self._session.folder.name) / "piece.jsonl"
        read = self._copy(piece, size)
        if read > self._read:
            self._do(
                "create or replace table lines as select row_number() over () + %s as line, json as j, "
                "json_type(json, %s) as type, json ->> %s as said from read_json_objects(%s, "
                f"format = 'newline_delimited', ignore_errors = true, maximum_object_size = {_LONGEST_LINE})",
                self._lines,
                *[_member(self._declared.time)] * 2,
                str(piece),
            )
            times = self._check()
            self._insert(_is_text(times))
            ((many,),) = self._do("select count(*) from lines")
            self._lines += many
            self._read, self._times = read, times
            self._tail = self._before(read)
            self._do("drop table lines")
        piece.unlink(missing_ok=True)

    def _goes_on(self) -> bool:
        """Whether the file still has what was read of it: another one may lie there by now."""
        return self._before(self._read) == self._tail

    def _before(self, place: int) -> bytes:
        """Some bytes before a place of the file; fewer where the file is shorter."""
        with self._path.open("rb") as file:
            file.seek(max(place - _TAIL, 0))
            return file.read(min(place, _TAIL))

    def _insert(self, is_text: bool) -> None:
        """Take in the lines that were read."""
        declared = self._declared
        selected, values = [f"{_time(is_text, declared.unit or 's')} as t"], list[Any]()
        if declared.key is None:
            selected += ["null", "null"]
        else:
            selected += [
                "case when json_type(j, %s) = 'VARCHAR' then j ->> %s end",
                "case when json_type(j, %s) in ('BIGINT', 'UBIGINT') then try_cast(j ->> %s as bigint) end",
            ]
            values += [_member(declared.key)] * 4
        for column, default in ((declared.position, "null"), (declared.payload, "j")):
            selected.append(default if column is None else "j -> %s")
            values += [] if column is None else [_member(column)]
        self._do(
            f"insert into events select * from (select {', '.join(selected)} from lines) "
            "where t is not null order by t",
            *values,
        )

    def _copy(self, piece: Path, size: int) -> int:
        """Copy what was not read yet, by whole lines; up to where that is."""
        with self._path.open("rb") as file, piece.open("wb") as copy:
            file.seek(self._read)
            left = size - self._read
            while left > 0 and (data := file.read(min(left, _PIECE))):
                copy.write(data)
                left -= len(data)
        with piece.open("r+b") as copy:
            end = copy.seek(0, os.SEEK_END)
            tail = b""
            while b"\n" not in tail and len(tail) < end:
                begin = max(end - len(tail) - _PIECE, 0)
                copy.seek(begin)
                tail = copy.read(end - len(tail) - begin) + tail
            torn = tail.rpartition(b"\n")[2]
            if torn.strip() and not _is_json(torn):
                end -= len(torn)
                copy.truncate(end)
        return self._read + end

    def _check(self) -> tuple[str, int] | None:
        """What times are, and since which line; raises TableError for a line that is no event, or whose time
        is another.
        """
        times = self._times
        for line, text in self._do(
            "select line, j from lines where j is null or json_type(j) <> 'OBJECT' limit 1"
        ):
            shown = "" if text is None else f", but {text:.60}"
            raise TableError(f"{self._said}: line {line} is no JSON object{shown}; write one event a line")
        kinds = self._do(
            "select case when type = 'VARCHAR' then 'text' when type in ('BIGINT', 'UBIGINT', 'DOUBLE') then "
            "'number' else type end as kind, min(line), arg_min(said, line) from lines "
            "where type is not null and type <> 'NULL' group by kind order by 2"
        )
        time = self._declared.time
        if not kinds and not self._lines:
            ((many,),) = self._do("select count(*) from lines")
            if many:
                near = self._do("select unnest(json_keys(j)) from lines limit 100")
                raise TableError(
                    f"{self._said}: none of its {many} lines has the time {time!r}; they have "
                    f"{', '.join(sorted({repr(one) for (one,) in near}))}"
                )
        for kind, line, said in kinds:
            if kind not in ("text", "number"):
                raise TableError(
                    f"{self._said}: {time} in line {line} is {said:.60}, and a time is a "
                    "number or ISO 8601 text"
                )
            if times is not None and times[0] != kind:
                raise TableError(
                    f"{self._said}: {time} is a {kind} in line {line} ({said:.60}), and a "
                    f"{times[0]} in line {times[1]}; write all times alike"
                )
            times = times or (kind, line)
        is_text = _is_text(times)
        unit = self._declared.unit
        if is_text and unit is not None:
            raise TableError(
                f"{self._said}: unit is {unit!r}, but its times are text, which has none; leave it out"
            )
        wrong = self._do(
            f"select line, said from (select line, said, {_time(is_text, unit or 's')} as t from lines "
            "where type <> 'NULL') "
            f"where t is null or t not between {EARLIEST} and {LATEST} order by line limit 1"
        )
        for line, said in wrong:
            rule = "ISO 8601 text" if is_text else f"a time in {unit or 's'} between the years 1 and 9999"
            raise TableError(f"{self._said}: {time} in line {line} is {said:.60}, which is not {rule}")
        return times

    def _do(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._session.ask_now(Asked(text, list(values)))


def _is_text(times: tuple[str, int] | None) -> bool:
    return times is not None and times[0] == "text"


def _time(is_text: bool, unit: str) -> str:
    """The time of a line in microseconds."""
    if is_text:
        return "epoch_us(try_cast(said as timestamptz))"
    return f"try_cast(floor(try_cast(said as decimal(38, 9)) * {_FACTOR[unit]}) as bigint)"


def _member(name: str) -> str:
    """A member of an object, as DuckDB's paths have it."""
    return '$."' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_json(text: bytes) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _read_row(row: tuple[Any, ...]) -> EventRow:
    time, text, number, position, event = row
    key = number if text is None else text
    placed = None if position is None else from_json(position)
    if not (placed is None or isinstance(placed, int | str)):
        placed = position
    return EventRow(time, key, payload_of({} if event is None else unquoted(event)), placed)
