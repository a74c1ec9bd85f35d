"""``DuckSession``: one DuckDB of this process, asked from asyncio; no part of it is fetched from anywhere.

Every question runs in a thread with a cursor of its own, so that many are asked at once. Errors of DuckDB are
told as TableError, about ``said``. Its memory is bounded by ``MEMORY``; what needs more goes to its folder.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any, Final, Self

from timeline_workers.errors import TableError

from .sql_statements import Asked

MEMORY: Final = "1GB"


class DuckSession:
    """Made by ``open``; ``close`` deletes what it has written."""

    def __init__(self, connection: Any, folder: tempfile.TemporaryDirectory[str], said: str) -> None:
        self._connection, self.folder, self._said = connection, folder, said

    @classmethod
    def open(cls, name: str, said: str) -> Self:
        """A database in a folder of its own. Raises TableError where DuckDB is not installed."""
        try:
            import duckdb
        except ModuleNotFoundError:
            raise TableError(
                f"table {name!r}: a table in files needs DuckDB: pip install 'timeline-workers[tables-files]'"
            ) from None
        folder = tempfile.TemporaryDirectory(prefix="timeline-table-", ignore_cleanup_errors=True)
        connection = duckdb.connect(
            f"{folder.name}/events.duckdb",
            config={"memory_limit": MEMORY, "autoinstall_known_extensions": "false", "TimeZone": "UTC"},
        )
        return cls(connection, folder, said)

    async def ask(self, asked: Asked) -> list[tuple[Any, ...]]:
        """The rows of an answer."""
        return await asyncio.to_thread(self.ask_now, asked)

    def ask_now(self, asked: Asked) -> list[tuple[Any, ...]]:
        """The same, in this thread."""
        import duckdb

        text = asked.text.replace("%s", "?").replace("%%", "%")
        try:
            with self._connection.cursor() as cursor:
                found: list[tuple[Any, ...]] = cursor.execute(text, asked.values).fetchall()
                return found
        except (duckdb.Error, OSError) as error:
            raise TableError(f"{self._said}: {' '.join(str(error).split())[:300]}") from None

    async def close(self) -> None:
        """Let go of it."""
        self._connection.close()
        self.folder.cleanup()
