"""Events from tables: Arrow, pandas, Polars, and whatever else speaks the Arrow stream interface.

Columns keep their types: ints stay ints and floats stay floats. Null is missing. A NaN in a pandas float
column is missing too, for that is how pandas writes it; in Arrow and Polars, which have nulls, a NaN is a
value, and not a finite one. A time column of timestamps or dates is taken whatever the declared unit; without
a zone it is UTC. pyarrow is imported only here, and pandas or Polars never: a frame brings its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import UNSET

from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import BOOL, INT, STRING, UNKNOWN, UInt8
from timeline_workers.errors import QuestionError
from timeline_workers.language.suggestions import nearest

from .decode import Decoder
from .raw import HUGE, MOMENT, OTHER, RawColumn, float_bits
from .rules import Decoded, Refusals, Reject


def is_frame(events: object) -> bool:
    """Whether ``events`` is a table that ``decode_frame`` reads."""
    return hasattr(events, "__arrow_c_stream__") or _library(events) in ("pandas", "polars")


def decode_frame(decoder: Decoder, frame: Any, first_position: int = 0) -> Decoded:
    """Decode all rows of a table; their positions count from ``first_position``.

    A column that an expression uses and the table lacks is missing in every event, as it would be in JSON.
    Raises QuestionError when the key or the time column is lacking, and ImportError without pyarrow.
    """
    table = _Table(frame)
    key, time = table.lookup(decoder.key), table.lookup(decoder.time)
    for path, found in ((decoder.key, key), (decoder.time, time)):
        if found is None:
            near = nearest(path, table.names)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(table.names[:20]) or 'none'}"
            raise QuestionError(f"the table has no column {path!r}; {hint}")
    columns = {name: table.raw(table.lookup(path)) for name, path in decoder.paths.items()}
    refusals: Refusals = {}
    raw_key = table.raw(key)
    raw_time, unit = table.time(time, decoder.rules.time_unit)
    applied = decoder.rules.apply(
        raw_key,
        raw_time,
        columns,
        Positions.in_input(first_position, table.count),
        refusals,
        time_unit=unit,
    )
    rejects = []
    for row in sorted(refusals):
        payload = {decoder.key: table.at(key, row), decoder.time: table.at(time, row)}
        payload |= {name: raw.value(row) for name, raw in columns.items()}
        rejects.append(Reject(row, *refusals[row], payload))
    return Decoded.of(applied, rejects)


class _Table:
    """One table; a column is a pyarrow array, or a list where the table holds Python objects."""

    def __init__(self, frame: Any) -> None:
        try:
            import pyarrow
            import pyarrow.compute
        except ImportError:
            raise ImportError("tables need pyarrow; install timeline-workers[frames]") from None
        self.arrow = pyarrow
        self.library = _library(frame)
        if self.library in ("pandas", "polars"):
            if hasattr(frame, "collect") or not hasattr(frame, "columns"):
                fix = "collect() it first" if hasattr(frame, "collect") else "give a DataFrame"
                raise QuestionError(f"events are a {type(frame).__name__}; {fix}")
            self.frame = frame
            self.count = len(frame)
            self.names = [name for name in frame.columns if isinstance(name, str)]
        else:
            self.frame = frame if isinstance(frame, pyarrow.Table) else pyarrow.table(frame)
            self.count = self.frame.num_rows
            self.names = list(self.frame.column_names)

    def lookup(self, path: str) -> Any:
        """The column at a dotted path, or None: the exact name wins, then a field of a nested column."""
        if path in self.names:
            if self.names.count(path) > 1:
                raise QuestionError(f"the table has several columns named {path!r}; rename all but one")
            return self._column(path)
        head, dot, rest = path.partition(".")
        if not dot or head not in self.names:
            return None
        return self._inside(self._column(head), rest)

    def _column(self, name: str) -> Any:
        if self.library == "polars":
            series = self.frame.get_column(name)
            return series.to_list() if str(series.dtype) == "Object" else series.to_arrow()
        if self.library == "pandas":
            series = self.frame[name]
            if series.dtype == object:
                # Mixed objects would be made one type by Arrow: an int among floats must stay an int.
                return [None if isinstance(v, float) and math.isnan(v) else v for v in series.tolist()]
            return self.arrow.array(series, from_pandas=True)
        return self.frame.column(name)

    def _inside(self, column: Any, path: str) -> Any:
        if isinstance(column, list):
            return [_get(value, path) for value in column]
        column = self._flat(column)
        if not self.arrow.types.is_struct(column.type):
            return None
        names = [column.type.field(i).name for i in range(column.type.num_fields)]
        if path in names:
            return self.arrow.compute.struct_field(column, [names.index(path)])
        head, dot, rest = path.partition(".")
        if not dot or head not in names:
            return None
        return self._inside(self.arrow.compute.struct_field(column, [names.index(head)]), rest)

    def _flat(self, column: Any) -> Any:
        return column.combine_chunks() if isinstance(column, self.arrow.ChunkedArray) else column

    def at(self, column: Any, row: int) -> Any:
        """The Python value of one row."""
        return column[row] if isinstance(column, list) else column[row].as_py()

    def time(self, column: Any, unit: str) -> tuple[RawColumn, str]:
        """A time column, and the unit its numbers are in."""
        types = self.arrow.types
        if isinstance(column, list) or not (types.is_timestamp(column.type) or types.is_date(column.type)):
            return self.raw(column), unit
        column = self._flat(column)
        if types.is_date32(column.type):
            column, own = column.cast(self.arrow.timestamp("s")), "s"
        else:
            own = "ms" if types.is_date64(column.type) else column.type.unit
        return self.raw(column.cast(self.arrow.int64())), own

    def raw(self, column: Any) -> RawColumn:
        """Tag a column, whole arrays at a time."""
        if column is None:
            return RawColumn.missing(self.count)
        if isinstance(column, list):
            return RawColumn.of(column)
        pa, column = self.arrow, self._flat(column)
        types = pa.types
        if types.is_null(column.type):
            return RawColumn.missing(self.count)
        if types.is_dictionary(column.type):
            if self._is_text(column.type.value_type) and not column.dictionary.null_count:
                return self._coded(column, column)
            column = column.dictionary_decode()
        known = np.asarray(column.is_valid())
        raw = RawColumn.missing(self.count)
        raw.value = lambda i: column[i].as_py()

        def tag(as_tag: int) -> UInt8:
            return np.where(known, as_tag, UNKNOWN).astype(np.uint8)

        if types.is_boolean(column.type):
            raw.tags, raw.bits = tag(BOOL), np.asarray(column.fill_null(False)).astype(np.int64)
        elif types.is_uint64(column.type):
            numbers = np.asarray(column.fill_null(0))
            fits = numbers < 2**63
            raw.tags = np.where(fits, tag(INT), np.uint8(HUGE))
            raw.bits = np.where(fits, numbers, 0).astype(np.int64)
        elif types.is_integer(column.type):
            raw.tags, raw.bits = tag(INT), np.asarray(column.fill_null(0)).astype(np.int64)
        elif types.is_floating(column.type):
            floats = np.asarray(column.cast(pa.float64()).fill_null(0.0))
            raw.bits, tags = float_bits(floats)
            raw.tags = np.where(known, tags, np.uint8(UNKNOWN))
        elif self._is_text(column.type):
            return self._coded(column, column.cast(pa.large_string()).dictionary_encode())
        else:
            moment = types.is_temporal(column.type) and not types.is_duration(column.type)
            raw.tags = tag(MOMENT if moment else OTHER)
        return raw

    def _is_text(self, kind: Any) -> bool:
        types = self.arrow.types
        return bool(types.is_string(kind) or types.is_large_string(kind) or _is_view(kind))

    def _coded(self, column: Any, coded: Any) -> RawColumn:
        """The strings of ``column``, from what holds each of them once."""
        raw = RawColumn.missing(self.count)
        raw.value = lambda i: column[i].as_py()
        codes = raw.strings.intern_all(coded.dictionary.to_pylist())
        if coded.null_count == 0:
            raw.tags = np.full(self.count, STRING, np.uint8)
            raw.bits = codes[np.asarray(coded.indices)]
        elif len(codes):
            known = np.asarray(coded.is_valid())
            raw.tags = np.where(known, np.uint8(STRING), np.uint8(UNKNOWN))
            raw.bits = codes[np.asarray(coded.indices.fill_null(0))]
            raw.bits[~known] = 0
        return raw


def _library(events: object) -> str:
    return type(events).__module__.partition(".")[0]


def _is_view(kind: Any) -> bool:
    return str(kind) == "string_view"


def _get(value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        return UNSET
    if path in value:
        return value[path]
    head, dot, rest = path.partition(".")
    return _get(value.get(head), rest) if dot else UNSET
