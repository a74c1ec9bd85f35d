"""``open_table`` opens a declared table; ``OpenTables`` keeps those of a file, open from their first use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from .declaration import TableDeclaration, declared
from .dynamodb_table import open_dynamodb
from .event_table import EventTable
from .jsonl_table import open_jsonl
from .parquet_table import open_parquet
from .postgres_table import open_postgres

_OPEN: Final[Mapping[str, Callable[[str, TableDeclaration], Awaitable[EventTable]]]] = {
    "postgresql": open_postgres,
    "postgres": open_postgres,
    "redshift": open_postgres,
    "dynamodb": open_dynamodb,
    "parquet": open_parquet,
    "jsonl": open_jsonl,
}


async def open_table(name: str, declaration: TableDeclaration) -> EventTable:
    """Open a table. Raises what ``EventTable`` says."""
    return await _OPEN[declaration.kind](name, declaration)


class OpenTables:
    """The tables of a file, by name. One that cannot be opened is tried again when it is asked for again."""

    def __init__(self, declarations: Mapping[str, TableDeclaration]) -> None:
        self.declarations = dict(declarations)
        self._open: dict[str, EventTable] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    def __contains__(self, name: object) -> bool:
        return name in self.declarations

    async def table(self, name: str) -> EventTable:
        """The table of a name. Raises UnknownNameError, and what ``open_table`` raises."""
        declaration = declared(self.declarations, name)
        async with self._opening.setdefault(name, asyncio.Lock()):
            if name not in self._open:
                self._open[name] = await open_table(name, declaration)
            return self._open[name]

    async def close(self) -> None:
        """Close them all."""
        while self._open:
            _, table = self._open.popitem()
            await table.close()
