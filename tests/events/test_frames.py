"""Events in Arrow, pandas and Polars tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from timeline_workers.errors import QuestionError
from timeline_workers.events.decode import Decoder
from timeline_workers.events.frames import decode_frame, is_frame
from timeline_workers.events.rules import Decoded

ROWS: list[dict[str, Any]] = [
    {"k": "s1", "t": 1, "i": 2**53 + 1, "f": 1.5, "b": True, "s": "x", "n": {"x": "p"}},
    {"k": "s2", "t": 2, "i": -5, "f": 2.0, "b": False, "s": "x", "n": {"x": None}},
    {"k": "s1", "t": 3, "i": 0, "f": -0.0, "b": True, "s": "y", "n": {"x": "q"}},
]
COLUMNS = ["i", "f", "b", "s", "n.x", "absent"]

FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "arrow": lambda rows: pa.Table.from_pylist(rows),
    "arrow chunks": lambda rows: pa.Table.from_batches(
        pa.Table.from_pylist(rows).to_batches(max_chunksize=1)
    ),
    "record batch": lambda rows: pa.RecordBatch.from_pylist(rows),
    "pandas": lambda rows: pd.DataFrame(rows),
    "pandas of objects": lambda rows: pd.DataFrame(rows, dtype=object),
    "polars": lambda rows: pl.DataFrame(rows),
    "polars objects": lambda rows: pl.DataFrame(
        {k: pl.Series([r[k] for r in rows], dtype=pl.Object) for k in rows[0]}
    ),
}


def decode(frame: Any, columns: Any = COLUMNS, unit: str = "s") -> Decoded:
    return decode_frame(Decoder(key="k", time="t", time_unit=unit, columns=columns), frame)


def values(decoded: Decoded, name: str) -> list[Any]:
    column = decoded.batch.columns[name]
    return [column.item(i) for i in range(len(column))]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_table_gives_the_same_events(form: str) -> None:
    """Every form of table gives the same events with the same types."""
    decoded = decode(FORMS[form](ROWS))
    assert decoded.rejects == []
    assert [decoded.batch.keys[i] for i in decoded.batch.key] == ["s1", "s2", "s1"]
    assert decoded.batch.time.tolist() == [1_000_000, 2_000_000, 3_000_000]
    assert decoded.batch.position.minor.tolist() == [0, 1, 2]
    assert values(decoded, "n.x") == ["p", None, "q"]
    assert values(decoded, "absent") == [None] * 3
    for name in ("i", "f", "b", "s"):
        expected = [row[name] for row in ROWS]
        assert values(decoded, name) == expected
        assert [type(v) for v in values(decoded, name)] == [type(v) for v in expected]


@pytest.mark.parametrize("form", FORMS)
def test_nulls_are_missing_bad_rows_are_numbered(form: str) -> None:
    """Nulls are missing and bad rows are refused with their number."""
    rows: list[dict[str, Any]] = [
        {"k": "s1", "t": 1, "s": None},
        {"k": None, "t": 2, "s": "x"},
        {"k": "s1", "t": 10**15, "s": "x"},
    ]
    decoded = decode(FORMS[form](rows), ["s"])
    assert values(decoded, "s") == [None]
    assert [(r.row, r.reason) for r in decoded.rejects] == [(1, "missing-key"), (2, "bad-time")]
    assert decoded.rejects[1].payload == {"k": "s1", "t": 10**15, "s": "x"}


def test_a_nan_is_missing_in_pandas_only() -> None:
    """A nan is missing in pandas and no number in arrow and polars."""
    rows = {"k": ["s", "s"], "t": [1, 2], "f": [1.0, float("nan")]}
    assert values(decode(pd.DataFrame(rows), ["f"]), "f") == [1.0, None]
    for frame in (pa.table(rows), pl.DataFrame(rows)):
        decoded = decode(frame, ["f"])
        assert values(decoded, "f") == [1.0]
        assert [r.reason for r in decoded.rejects] == ["not-finite"]


def test_an_int_in_a_pandas_object_column_stays_int() -> None:
    """An int among floats stays an int in a pandas column of objects."""
    frame = pd.DataFrame(
        {"k": ["s"] * 3, "t": [1, 2, 3], "v": pd.Series([2**53 + 1, 1.5, "x"], dtype=object)}
    )
    found = values(decode(frame, ["v"]), "v")
    assert found == [2**53 + 1, 1.5, "x"]
    assert [type(v) for v in found] == [int, float, str]


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint32(), pa.uint64(), pa.float32(), pa.large_string(), pa.string_view(), pa.bool_()],
)
def test_every_width_of_a_type_is_read(kind: Any) -> None:
    wanted: list[Any] = (
        ["x", None] if "string" in str(kind) else [True, None] if kind == pa.bool_() else [1, None]
    )
    frame = pa.table({"k": pa.array([1, 2]), "t": pa.array([1, 2]), "v": pa.array(wanted, kind)})
    assert values(decode(frame, ["v"]), "v") == wanted


def test_dictionary_coded_strings_and_categories_are_strings() -> None:
    coded = pa.table({"k": pa.array(["a", "b", "a"]).dictionary_encode(), "t": [1, 2, 3]})
    for frame in (coded, coded.to_pandas(), pl.from_arrow(coded)):
        batch = decode(frame, []).batch
        assert [batch.keys[i] for i in batch.key] == ["a", "b", "a"]


def test_an_unsigned_int_beyond_64_bits_is_refused() -> None:
    """An unsigned int beyond 64 bits is refused and not wrapped."""
    frame = pa.table({"k": ["a", "a"], "t": [1, 2], "v": pa.array([2**63, 5], pa.uint64())})
    decoded = decode(frame, ["v"])
    assert values(decoded, "v") == [5]
    assert [r.reason for r in decoded.rejects] == ["int-out-of-range"]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime(2024, 5, 1, 12)], pa.timestamp("s")),
        pa.array([datetime(2024, 5, 1, 12)], pa.timestamp("ns", tz="UTC")),
        pa.array([datetime(2024, 5, 1, 12)], pa.timestamp("ms", tz="America/New_York")),
        pa.array(["2024-05-01T12:00:00Z"]).cast(pa.timestamp("us", tz="UTC")),
    ],
)
@pytest.mark.parametrize("unit", ["s", "ns", "iso"])
def test_timestamps_are_times_whatever_the_declared_unit(times: Any, unit: str) -> None:
    frame = pa.table({"k": [1], "t": times})
    for form in (frame, frame.to_pandas(), pl.from_arrow(frame)):
        assert decode(form, [], unit).batch.time.tolist() == [1_714_564_800_000_000]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates_are_midnights(kind: Any) -> None:
    frame = pa.table({"k": [1, 1], "t": pa.array([date(1970, 1, 2), date(1969, 12, 31)], kind)})
    assert decode(frame, []).batch.time.tolist() == [86_400_000_000, -86_400_000_000]


def test_iso_text_times_are_read() -> None:
    frame = pl.DataFrame({"k": [1, 1], "t": ["1970-01-01T00:00:01Z", "noon"]})
    decoded = decode(frame, [], "iso")
    assert decoded.batch.time.tolist() == [1_000_000]
    assert [r.reason for r in decoded.rejects] == ["bad-time"]


def test_a_timestamp_or_list_is_a_wrong_type() -> None:
    """A timestamp or list in a used column is of the wrong type."""
    frame = pa.table({"k": [1], "t": [1], "d": [datetime(2024, 1, 1)], "l": [[1]]})
    for name in ("d", "l"):
        assert [r.reason for r in decode(frame, [name]).rejects] == ["wrong-type"]


def test_a_missing_table_column_names_the_nearest() -> None:
    """A table without the key or time column is an error that names the nearest."""
    frame = pa.table({"session": [1], "time": [1]})
    with pytest.raises(QuestionError, match="no column 'sesion'; did you mean 'session'"):
        decode_frame(Decoder(key="sesion", time="time"), frame)
    with pytest.raises(QuestionError, match="no column 'when'; it has session, time"):
        decode_frame(Decoder(key="session", time="when"), frame)


def test_two_columns_of_one_name_are_an_error() -> None:
    frame = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["k", "t", "k"])
    with pytest.raises(QuestionError, match="several columns named 'k'"):
        decode(frame, [])


def test_a_lazy_frame_or_series_is_refused_clearly() -> None:
    for frame in (pl.DataFrame({"k": [1], "t": [1]}).lazy(), pl.Series([1]), pd.Series([1])):
        assert is_frame(frame)
        with pytest.raises(QuestionError, match=r"give a DataFrame|collect\(\) it first"):
            decode(frame, [])


def test_an_empty_table_gives_no_events() -> None:
    frame = pa.table(
        {"k": pa.array([], pa.string()), "t": pa.array([], pa.int64()), "s": pa.array([], pa.null())}
    )
    for form in (frame, frame.to_pandas(), pl.from_arrow(frame)):
        assert len(decode(form, ["s"]).batch) == 0
