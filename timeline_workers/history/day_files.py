"""Files of an exported history: one for each day and definition or node, as JSON lines or Parquet.

``FOLDER/events/day=2026-11-30/NAME.jsonl`` and ``FOLDER/pieces/day=…`` (hive partitions, which DuckDB,
Spark and PyArrow read as a column ``day``), with ``FOLDER/history.json`` beside them. Days are of event time,
in UTC. Parquet needs pyarrow, the extra ``frames``. Raises HistoryError where files cannot be read or
written, QuestionError for files of something else, SettingsError where pyarrow is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from timeline_workers.errors import HistoryError, QuestionError, SettingsError
from timeline_workers.events.times import EARLIEST, LATEST, from_microseconds

from .row_files import Row, from_json, to_json

Format = Literal["jsonl", "parquet"]
ROWS = 5_000
_TIMES = ("published", "time", "seen", "start", "until")
_INTEGERS = ("partition", "major", "minor")


def day_of(time: int) -> str:
    """The day of an event time, in UTC."""
    return str(from_microseconds(min(max(time, EARLIEST), LATEST), "iso"))[:10]


def check_format(format: Format) -> None:
    """Raises SettingsError where what ``format`` needs is not installed."""
    if format == "parquet":
        _pyarrow()


class DayFiles:
    """Writes the rows of one definition or node, ascending by time, under ``folder``; a context manager.
    ``complete`` is told of each file that nothing more is written to.
    """

    def __init__(
        self, folder: Path, name: str, format: Format, complete: Callable[[Path], object] = lambda _: None
    ) -> None:
        self._folder, self._name, self._format = folder, name.replace("/", "."), format
        self._stack = ExitStack()
        self._day = ""
        self._writer: Any = None
        self._place: Path | None = None
        self._complete = complete

    def __enter__(self) -> DayFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_file()

    def _end_file(self) -> None:
        self._stack.close()
        if self._place is not None:
            place, self._place = self._place, None
            self._complete(place)

    def write(self, rows: Sequence[tuple[int, Row]]) -> None:
        """Write rows, each with the time by which it belongs to a day."""
        by_day: dict[str, list[Row]] = {}
        for time, row in rows:
            by_day.setdefault(day_of(time), []).append(row)
        try:
            for day, some in by_day.items():
                self._write_day(day, some)
        except OSError as error:
            raise HistoryError(f"{self._folder} cannot be written: {error}") from error

    def _write_day(self, day: str, rows: list[Row]) -> None:
        if day != self._day:
            self._end_file()
            self._day, self._writer = day, None
        if self._writer is None:
            place = self._folder / f"day={day}" / f"{self._name}.{self._format}"
            place.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._stack.enter_context(
                place.open("w", encoding="utf-8") if self._format == "jsonl" else _parquet(place, rows[0])
            )
            self._place = place
        if self._format == "jsonl":
            self._writer.writelines(f"{to_json(row)}\n" for row in rows)
        else:
            self._writer.write_table(_table(rows))


def files_of(folder: Path) -> list[Path]:
    """The files of rows under ``folder``, day by day."""
    return sorted(path for path in folder.glob("day=*/*") if path.suffix in (".jsonl", ".parquet"))


def read_rows(path: Path) -> Iterator[list[Row]]:
    """The rows of a file, some thousand at a time."""
    try:
        if path.suffix == ".jsonl":
            yield from _read_lines(path)
        else:
            yield from _read_parquet(path)
    except UnicodeDecodeError as error:
        raise QuestionError(f"{path} is no file of a history: {error}") from error
    except OSError as error:
        raise HistoryError(f"{path} cannot be read: {error}") from error


def _read_lines(path: Path) -> Iterator[list[Row]]:
    rows: list[Row] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            rows.append(from_json(line))
            if len(rows) == ROWS:
                yield rows
                rows = []
    if rows:
        yield rows


def _read_parquet(path: Path) -> Iterator[list[Row]]:
    parquet = _pyarrow().parquet
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS):
                integers = _pyarrow().table(batch).cast(_pyarrow().schema(_plain(batch.schema)))
                yield integers.to_pylist()
    except _pyarrow().ArrowInvalid as error:
        raise QuestionError(f"{path} is no Parquet file of a history: {error}") from error


def _plain(schema: Any) -> list[Any]:
    arrow = _pyarrow()
    return [field.with_type(arrow.int64()) if field.name in _TIMES else field for field in schema]


def _parquet(path: Path, row: Row) -> Any:
    return _pyarrow().parquet.ParquetWriter(path, _schema(row), compression="zstd")


def _table(rows: list[Row]) -> Any:
    arrow, schema = _pyarrow(), _schema(rows[0])
    numbers = arrow.Table.from_pylist(rows, arrow.schema(_plain(schema)))
    return numbers.cast(schema)


def _schema(row: Row) -> Any:
    arrow = _pyarrow()
    kinds = {
        **dict.fromkeys(_TIMES, arrow.timestamp("us", tz="UTC")),
        **dict.fromkeys(_INTEGERS, arrow.int64()),
        "below": arrow.bool_(),
        "payload": arrow.binary(),
    }
    return arrow.schema([arrow.field(name, kinds.get(name, arrow.string())) for name in row])


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SettingsError(
            "Parquet needs pyarrow, which is not installed: pip install 'timeline-workers[frames]', or "
            "export with --format jsonl"
        ) from None
    return pyarrow
