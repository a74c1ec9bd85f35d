"""Timelines as Arrow tables, for whatever reads those. pyarrow is imported here when it is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import (
    BOOL,
    FLOAT,
    INT,
    STRING,
    UNKNOWN,
    Bools,
    Flags,
    Int64,
    Linear,
    Numbers,
    Tagged,
)

from .answer_models import KindName
from .one_key import MILLION
from .reader import Group, in_order

if TYPE_CHECKING:
    import pyarrow

_MAX_EXACT_INT = 2**53  # as a float


def to_table(
    timelines: Sequence[Timeline], names: Sequence[Group], kind: KindName, aggregates: Sequence[str | None]
) -> pyarrow.Table:
    """The pieces of all keys, keys in order: key, (aggregate,) start, end, value, and slope for Numeric.

    One timeline per aggregate function, or one and None. ``start`` and ``end`` are UTC timestamps in
    microseconds, end null for what lasts; times before a key's origin have no row. ``value`` (and key) has
    one Arrow type where all values have; ints among floats become floats where that is exact; any other
    mixture is text, each value as JSON.
    """
    import pyarrow as pa

    place = {(type(name), name): i for i, name in enumerate(in_order(names))}
    places = np.array([place[type(name), name] for name in names], np.int64)
    keys = _arrow_tagged(Tagged.of(names))
    stamp = pa.timestamp("us", tz="UTC")
    tables = []
    for timeline, function in zip(timelines, aggregates, strict=True):
        rows = np.repeat(np.arange(timeline.keys), np.diff(timeline.offsets))
        ends = np.append(timeline.starts[1:], 0)[: len(timeline)]
        lasting = np.append(np.diff(rows) != 0, True)[: len(timeline)]
        columns: dict[str, Any] = {"key": keys.take(pa.array(rows))}
        if function is not None:
            columns["aggregate"] = pa.array([function] * len(timeline), pa.string())
        columns["start"] = pa.array(timeline.starts).cast(stamp)
        columns["end"] = pa.array(ends, mask=lasting).cast(stamp)
        columns["value"] = _arrow_values(timeline.values)
        if kind == "numeric":
            columns["slope"] = _arrow_slopes(timeline.values)
        in_key_order = np.argsort(places[rows], kind="stable")
        tables.append(pa.table(columns).take(pa.array(in_key_order)))
    return pa.concat_tables(tables, promote_options="permissive")


def _arrow_values(values: Flags | Tagged | Linear) -> Any:
    import pyarrow as pa

    if isinstance(values, Flags):
        return pa.array(values.data)
    if isinstance(values, Tagged):
        return _arrow_tagged(values)
    return _arrow_numbers(values.num, values.known, MILLION)


def _arrow_slopes(values: Flags | Tagged | Linear) -> Any:
    import pyarrow as pa

    if isinstance(values, Linear):
        return _arrow_numbers(values.slope, values.known, 1)
    known = values.tags != UNKNOWN if isinstance(values, Tagged) else np.ones(len(values), np.bool_)
    return pa.array(np.zeros(len(values), np.int64), mask=~known)


def _arrow_numbers(numbers: Numbers, known: Bools, divisor: int) -> Any:
    import pyarrow as pa

    if numbers.dtype == np.object_:
        exact = [Fraction(n) / divisor for n in numbers.tolist()]
        return pa.array([n.numerator / n.denominator for n in exact], pa.float64(), mask=~known)
    ints: Int64 = numbers.astype(np.int64)
    if not (ints % divisor).any():
        return pa.array(ints // divisor, mask=~known)
    if not _inexact(ints).any():
        return pa.array(ints / divisor, mask=~known)
    # True division of Python ints rounds once; NumPy would round the conversion, too.
    return pa.array([n / divisor for n in ints.tolist()], pa.float64(), mask=~known)


def _inexact(ints: Int64) -> Bools:
    """Which ints a float might not hold."""
    return (ints > _MAX_EXACT_INT) | (ints < -_MAX_EXACT_INT)


def _arrow_tagged(column: Tagged) -> Any:
    import pyarrow as pa

    unknown = column.tags == UNKNOWN
    tags = set(np.unique(column.tags).tolist()) - {UNKNOWN}
    if not tags:
        return pa.nulls(len(column))
    if tags == {STRING}:
        codes = pa.array(column.bits, mask=unknown)
        return pa.DictionaryArray.from_arrays(codes, pa.array(column.strings.names)).dictionary_decode()
    if tags == {BOOL}:
        return pa.array(column.bits != 0, mask=unknown)
    if tags == {INT}:
        return pa.array(column.bits, mask=unknown)
    ints = column.tags == INT
    if tags <= {INT, FLOAT} and not _inexact(column.bits[ints]).any():
        return pa.array(np.where(ints, column.bits, column.bits.view(np.float64)), mask=unknown)
    values = [column.item(i) for i in range(len(column))]
    return pa.array([None if v is None else json.dumps(v, ensure_ascii=False) for v in values], pa.string())
