"""The rules that make an event valid, applied to all events of a batch at once.

An event is refused whole, for the first reason found in this order: its size and syntax (before this module),
its key, its time, its columns. A column's value that does not fit counts as missing instead where the column
says so. Reasons are stable codes for counters and the dead-letter topic:

``malformed-json``, ``too-large``, ``missing-key``, ``wrong-key-type``, ``missing-time``, ``bad-time``,
``time-too-far-ahead``, ``wrong-type``, ``int-out-of-range``, ``not-finite``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal as Choice

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import (
    BOOL,
    FLOAT,
    INT,
    STRING,
    UNKNOWN,
    Bools,
    Int64,
    StringTable,
    Tagged,
)
from timeline_workers.errors import EventError
from timeline_workers.language.check import Alike
from timeline_workers.metric.model import ColumnSpec

from .raw import HUGE, NOT_FINITE, TAG_NAMES, RawColumn
from .times import (
    EARLIEST,
    LATEST,
    floats_to_microseconds,
    ints_to_microseconds,
    iso_to_microseconds,
    to_microseconds,
)

Requirement = Choice["bool", "number", "string"]
Refusals = dict[int, tuple[str, str]]

_ANY: Final = {UNKNOWN, BOOL, INT, FLOAT, STRING}
_DECLARED: Final = {"bool": {BOOL}, "int": {INT}, "float": {FLOAT, INT}, "string": {STRING}}
_REQUIRED: Final = {"bool": {BOOL}, "number": {INT, FLOAT}, "string": {STRING}}
_NAMED: Final = {"bool": "a bool", "number": "a number", "string": "a string"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes, in bytes of UTF-8, beyond which an event is refused as ``too-large``."""

    event_bytes: int = 1 << 20
    string_bytes: int = 64 << 10
    key_bytes: int = 1 << 10


@dataclass(frozen=True, slots=True)
class Reject:
    """One refused event. ``row``: its place in what was decoded; ``payload``: the event as it was given."""

    row: int
    reason: str
    message: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Missing:
    """A value in a valid event that does not fit its column and counts as missing. ``row``: its event's."""

    row: int
    column: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What the rules make of M events, of which N are valid.

    ``rows``: int64[N], the place of each valid event among the M; ``times``: int64[M], microseconds, that
    count where ``timed``, bool[M]: the event is valid, or refused for a column's value only; ``missing``: by
    row, then column; ``keys``: of those that are refused only for a column's value, the keys.
    """

    batch: EventBatch
    rows: Int64
    times: Int64
    timed: Bools
    missing: list[Missing]
    keys: Mapping[int, Key]


@dataclass(frozen=True, slots=True)
class Decoded(Applied):
    """The same with the events that are refused, by row."""

    rejects: list[Reject]

    @staticmethod
    def of(applied: Applied, rejects: list[Reject]) -> Decoded:
        """``applied``, with those that it refused."""
        return Decoded(
            applied.batch, applied.rows, applied.times, applied.timed, applied.missing, applied.keys, rejects
        )


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What one column may hold. ``because``: the words for it; ``to_float``: ints are stored as floats;
    ``missing``: what does not fit counts as missing.
    """

    tags: set[int]
    because: str
    to_float: bool = False
    missing: bool = False


class Rules:
    """The rules of one source, and of an expression over it.

    ``columns``: the columns, None where undeclared; ``requirements``: what an expression compares undeclared
    columns with; ``key``, ``time``: the fields these two come from, for messages.
    """

    def __init__(
        self,
        time_unit: str,
        columns: Mapping[str, ColumnSpec | None],
        requirements: Mapping[str, Requirement],
        alike: Sequence[Alike],
        limits: Limits,
        *,
        key: str,
        time: str,
    ) -> None:
        self.key = key
        self.time = time
        self.time_unit = time_unit
        self.limits = limits
        self.alike = alike
        self.columns: dict[str, ColumnRule] = {}
        for name in dict.fromkeys([*columns, *requirements]):
            if spec := columns.get(name):
                tags = _DECLARED[spec.type] | {UNKNOWN}
                because = f"is declared {spec.type}"
                missing = spec.on_bad_value == "missing"
                self.columns[name] = ColumnRule(tags, because, spec.type == "float", missing)
            elif needs := requirements.get(name):
                tags = _REQUIRED[needs] | {UNKNOWN}
                self.columns[name] = ColumnRule(tags, f"is used as {_NAMED[needs]}")
            else:
                self.columns[name] = ColumnRule(_ANY, "takes a bool, int, float or string")

    def apply(
        self,
        key: RawColumn,
        time: RawColumn,
        columns: Mapping[str, RawColumn],
        positions: Positions,
        refusals: Refusals,
        *,
        time_unit: str | None = None,
        publish_times: Int64 | None = None,
        max_ahead: int | None = None,
    ) -> Applied:
        """Judge the events; adds a (reason, message) to ``refusals`` for each one that is not valid.

        Rows that are in ``refusals`` already are left out. ``time_unit`` overrides the source's;
        ``publish_times`` (microseconds; 0: there is none) and ``max_ahead`` together bound how far ahead a
        time may lie.
        """
        odd_strings = self._check_keys(key, refusals)
        micros = self._times(time, time_unit or self.time_unit, refusals)
        if publish_times is not None and max_ahead is not None:
            ahead_of_all = min(max_ahead, LATEST - EARLIEST)  # no sum leaves 64 bits then
            too_far = (publish_times > 0) & (micros > publish_times + ahead_of_all)
            for row in np.flatnonzero(too_far).tolist():
                ahead = (int(micros[row]) - int(publish_times[row])) / 1e6
                message = (
                    f"time {time.value(row)!r} lies {ahead:.0f} s after the event was published, more than "
                    f"max_ahead ({max_ahead / 1e6:.0f} s); is the source's time unit right?"
                )
                refusals.setdefault(row, ("time-too-far-ahead", message))
        timed = np.ones(len(key.tags), np.bool_)
        timed[list(refusals)] = False
        missing: dict[str, Refusals] = {}
        taken: dict[str, RawColumn] = {}
        for name, column in columns.items():
            unfit: Refusals = {}
            counts_as_missing = self.columns[name].missing
            odd_strings |= self._check_column(name, column, unfit if counts_as_missing else refusals)
            taken[name] = _without(column, unfit)
            missing |= {name: unfit} if unfit else {}
        for same in self.alike:
            _check_alike(same, taken, refusals)

        keep: Bools | slice = slice(None)
        rows = np.arange(len(key.tags), dtype=np.int64)
        if refusals:
            keep = np.ones(len(key.tags), np.bool_)
            keep[list(refusals)] = False
            rows = rows[keep]
        names, codes = _key_codes(key, keep)
        batch = EventBatch(
            names,
            codes,
            micros[keep],
            positions.take(rows) if refusals else positions,
            {
                name: _tagged(column, keep, self.columns[name].to_float, odd_strings)
                for name, column in taken.items()
            },
        )
        found = [
            Missing(row, name, *said)
            for name, unfit in missing.items()
            for row, said in unfit.items()
            if row not in refusals
        ]
        keys = {row: key.value(row) for row in refusals if timed[row]}
        return Applied(batch, rows, micros, timed, sorted(found, key=lambda m: (m.row, m.column)), keys)

    def _times(self, time: RawColumn, unit: str, refusals: Refusals) -> Int64:
        said = f"the event has no time: {_absent(self.time)}"
        for row in np.flatnonzero(time.tags == UNKNOWN).tolist():
            refusals.setdefault(row, ("missing-time", said))
        return _times(time, unit, refusals)

    def _check_keys(self, key: RawColumn, refusals: Refusals) -> bool:
        wrong = (key.tags != STRING) & (key.tags != INT)
        for row in np.flatnonzero(wrong).tolist():
            tag = int(key.tags[row])
            if tag == UNKNOWN:
                refusals.setdefault(row, ("missing-key", f"the event has no key: {_absent(self.key)}"))
            elif tag == HUGE:
                message = f"key {_short(key.value(row))} exceeds 64 bits; send it as a string"
                refusals.setdefault(row, ("int-out-of-range", message))
            else:
                message = f"key {_short(key.value(row))} is {TAG_NAMES[tag]}; a key is a string or an int"
                refusals.setdefault(row, ("wrong-key-type", message))
        if "" in key.strings.names:
            empty = key.strings.index[""]
            for row in np.flatnonzero((key.tags == STRING) & (key.bits == empty)).tolist():
                refusals.setdefault(row, ("missing-key", f"the key, field {self.key!r}, is the empty string"))
        return _check_strings(key, self.limits.key_bytes, "the key", refusals)

    def _check_column(self, name: str, column: RawColumn, refusals: Refusals) -> bool:
        rule = self.columns[name]
        allowed = np.zeros(max(TAG_NAMES) + 1, np.bool_)
        allowed[list(rule.tags)] = True
        for row in np.flatnonzero(~allowed[column.tags]).tolist():
            tag, value = int(column.tags[row]), _short(column.value(row))
            if tag == HUGE:
                reason, rule_broken = "int-out-of-range", "but ints have 64 bits; send it as a string"
            elif tag == NOT_FINITE:
                reason, rule_broken = "not-finite", "but numbers must be finite"
            else:
                reason, rule_broken = "wrong-type", f"{TAG_NAMES[tag]}, but {rule.because}"
            refusals.setdefault(row, (reason, f"column {name!r} has {value}, {rule_broken}"))
        return _check_strings(column, self.limits.string_bytes, f"column {name!r}", refusals)


def _without(column: RawColumn, rows: Refusals) -> RawColumn:
    """``column`` with nothing at ``rows``; other columns may have been read from the same field."""
    if not rows:
        return column
    tags, bits = column.tags.copy(), column.bits.copy()
    tags[list(rows)], bits[list(rows)] = UNKNOWN, 0
    return replace(column, tags=tags, bits=bits)


def _check_alike(same: Alike, columns: Mapping[str, RawColumn], refusals: Refusals) -> None:
    """Refuse events in which columns that are compared with one another do not compare."""
    family = np.arange(max(TAG_NAMES) + 1)
    family[INT] = FLOAT
    first: NDArray[np.int64] | None = None
    wrong: Bools | None = None
    for name in same.columns:
        kinds = family[columns[name].tags]
        if first is None or wrong is None:
            first, wrong = kinds.copy(), (kinds == BOOL) & same.ordered
            continue
        wrong |= ((kinds != first) & (kinds != UNKNOWN) & (first != UNKNOWN)) | (
            (kinds == BOOL) & same.ordered
        )
        first = np.where(first == UNKNOWN, kinds, first)
    assert wrong is not None
    for row in np.flatnonzero(wrong).tolist():
        tags = {n: int(columns[n].tags[row]) for n in same.columns if columns[n].tags[row] != UNKNOWN}
        found = ", ".join(f"{name!r} is {TAG_NAMES[tag]}" for name, tag in tags.items())
        no_order = same.ordered and BOOL in tags.values()
        rule = "true and false have no order" if no_order else "only values of one type are compared"
        refusals.setdefault(row, ("wrong-type", f"column {found}, but {rule}"))


def _check_strings(column: RawColumn, limit: int, what: str, refusals: Refusals) -> bool:
    """Refuse strings that are too long or no text; return whether there were any."""
    names = column.strings.names
    if not names:
        return False
    odd: dict[int, tuple[str, str]] = {}
    if max(map(len, names)) * 4 > limit:
        for code, name in enumerate(names):
            if len(name) * 4 > limit and (size := len(name.encode(errors="surrogatepass"))) > limit:
                odd[code] = ("too-large", f"{what} has {size:,} bytes; the limit is {limit:,}")
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        for code, name in enumerate(names):
            if any("\ud800" <= c <= "\udfff" for c in name):
                odd[code] = ("malformed-json", f"{what} has half of a surrogate pair, which is no text")
    for code, said in odd.items():
        for row in np.flatnonzero((column.tags == STRING) & (column.bits == code)).tolist():
            refusals.setdefault(row, said)
    return bool(odd)


def _times(time: RawColumn, unit: str, refusals: Refusals) -> Int64:
    result = np.zeros(len(time.tags), np.int64)
    one_by_one = time.tags != STRING if unit == "iso" else (time.tags != INT) & (time.tags != FLOAT)
    if unit == "iso":
        known, good = iso_to_microseconds(time.strings.names)
        wrong = np.zeros(len(known), np.bool_)
        for code in np.flatnonzero(~good).tolist():
            try:
                known[code] = to_microseconds(time.strings.names[code], unit)
            except EventError:
                wrong[code] = True
        rows = np.flatnonzero(time.tags == STRING)
        result[rows] = known[time.bits[rows]]
        one_by_one[rows[wrong[time.bits[rows]]]] = True
    else:
        for tag in (INT, FLOAT):
            rows = np.flatnonzero(time.tags == tag)
            if len(rows):
                bits = time.bits[rows]
                if tag == INT:
                    result[rows], good = ints_to_microseconds(bits, unit)
                else:
                    result[rows], good = floats_to_microseconds(bits.view(np.float64), unit)
                one_by_one[rows[~good]] = True
    for row in np.flatnonzero(one_by_one).tolist():
        value = None if time.tags[row] == UNKNOWN else time.value(row)
        try:
            result[row] = to_microseconds(value, unit)
        except EventError as error:
            refusals.setdefault(row, (error.reason, str(error)))
    return result


def _key_codes(key: RawColumn, keep: Bools | slice) -> tuple[list[Key], NDArray[np.int32]]:
    tags, bits = key.tags[keep], key.bits[keep]
    if (tags == STRING).all():
        return _used(key.strings.names, bits)
    if (tags == INT).all():
        distinct, codes = np.unique(bits, return_inverse=True)
        return list(distinct.tolist()), codes.astype(np.int32)
    texts = tags == STRING
    names, some = _used(key.strings.names, bits[texts])
    numbers, others = np.unique(bits[~texts], return_inverse=True)
    mixed = np.empty(len(tags), np.int32)
    mixed[texts] = some
    mixed[~texts] = others + len(names)
    return [*names, *numbers.tolist()], mixed


def _used(names: list[str], codes: Int64) -> tuple[list[Any], NDArray[np.int32]]:
    used = np.zeros(len(names), np.bool_)
    used[codes] = True
    renumbered = (np.cumsum(used) - 1).astype(np.int32)
    kept = names if used.all() else [names[i] for i in np.flatnonzero(used).tolist()]
    return list(kept), renumbered[codes].astype(np.int32)


def _tagged(column: RawColumn, keep: Bools | slice, to_float: bool, prune: bool) -> Tagged:
    tags, bits, strings = column.tags[keep], column.bits[keep], column.strings
    if to_float and (tags == INT).any():
        ints = tags == INT
        bits = np.where(ints, bits.astype(np.float64).view(np.int64), bits)
        tags = np.where(ints, np.uint8(FLOAT), tags)
    if prune and strings.names:
        # What was refused for its size must not travel on in the table.
        texts = tags == STRING
        names, codes = _used(strings.names, bits[texts])
        bits = bits.copy()
        bits[texts] = codes
        strings = StringTable(names)
    return Tagged(tags, bits, strings)


def _absent(field: str) -> str:
    return f"field {field!r} is missing or null"


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
