"""The expected fate of every stored message, by a reading of the semantics that shares no code with the
feeder: one message at a time, with the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from tests.oracle.events import Event
from timeline_workers.metric.model import Source

FIRST = -62_135_596_800_000_000  # the year 1, microseconds
LAST = 253_402_300_799_999_999  # the end of the year 9999
EVENT_BYTES, STRING_BYTES, KEY_BYTES = 1 << 20, 64 << 10, 1 << 10
_TYPES = {"string": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


LEDGERS = 2**44


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands: the partition of its topic, and (ledger, entry, index in its batch).

    Of a topic that has begun again, the number of the incarnation stands above the 44 bits of the ledger.
    """

    partition: int
    at: tuple[int, int, int]

    @property
    def text(self) -> str:
        """As the properties of a dead letter write it."""
        incarnation, ledger = divmod(self.at[0], LEDGERS)
        of = f"#{incarnation}" if incarnation else ""
        return ":".join(map(str, (ledger, *self.at[1:]))) + of

    def in_incarnation(self, number: int) -> Place:
        """The same place of a topic in that incarnation."""
        ledger, entry, index = self.at
        return Place(self.partition, (number * LEDGERS + ledger, entry, index))


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the broker stored it. ``published``: microseconds; 0: there is no publish time."""

    place: Place
    key: str
    payload: bytes
    published: int


@dataclass(slots=True)
class Judged:
    """What became of the messages of one source.

    ``accepted``: the events; ``refused``: per place, the reason; ``watermarks``: per partition, microseconds,
    of those that had an event that raised one; ``ahead``: per partition, of each accepted event that raised
    none because it lies too far after its publish time, how far.
    """

    accepted: list[Event] = field(default_factory=list)
    refused: dict[Place, str] = field(default_factory=dict)
    watermarks: dict[int, int] = field(default_factory=dict)
    ahead: dict[int, list[int]] = field(default_factory=dict)

    def watermark(self, partitions: int) -> int | None:
        """The least of ``partitions``; None while one of them has none."""
        return min(self.watermarks.values()) if len(self.watermarks) == partitions else None


def judge(messages: Iterable[Message], source: Source) -> Judged:
    """Judge all messages of a topic, partition by partition in stored order."""
    result = Judged()
    for message in sorted(messages, key=lambda m: (m.place.partition, m.place.at)):
        partition = message.place.partition
        mark = result.watermarks.get(partition)
        try:
            data, key, time = _key_and_time(message, source)
        except _Refused as refused:
            result.refused[message.place] = str(refused)
            continue
        is_ahead = message.published > 0 and time > message.published + source.clock_skew
        try:
            columns = _columns(data, source)
        except _Refused as refused:
            # For a column's value only: it counts for the watermark.
            result.refused[message.place] = str(refused)
        else:
            if mark is not None and time < mark:
                result.refused[message.place] = "late"
                continue
            ledger, entry, index = message.place.at
            position = (partition, ledger, entry * 2**16 + index)
            result.accepted.append(Event(key, time, position, columns))
            if is_ahead:
                result.ahead.setdefault(partition, []).append(time - message.published)
        if is_ahead:
            continue
        reached = min(time, message.published or time) - source.allowed_lateness
        result.watermarks[partition] = reached if mark is None else max(mark, reached)
    return result


class _Refused(Exception):
    pass


def _key_and_time(message: Message, source: Source) -> tuple[dict[str, Any], str | int, int]:
    if len(message.payload) > EVENT_BYTES:
        raise _Refused("too-large")
    try:
        data = json.loads(message.payload.decode(), parse_float=Decimal, parse_constant=_no_constant)
    except ValueError:
        raise _Refused("malformed-json") from None
    if not isinstance(data, dict):
        raise _Refused("malformed-json")
    key = _key(data.get(source.key))
    time = _time(data.get(source.time), source.time_unit)
    if message.published and time > message.published + source.max_ahead:
        raise _Refused("time-too-far-ahead")
    return data, key, time


def _columns(data: dict[str, Any], source: Source) -> dict[str, Any]:
    found = {}
    for name, spec in source.columns.items():
        try:
            found[name] = _column(data.get(spec.path or name), spec.type)
        except _Refused:
            if spec.on_bad_value != "missing":
                raise
    return {name: value for name, value in found.items() if value is not None}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _key(value: Any) -> str | int:
    if value is None or value == "":
        raise _Refused("missing-key")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _Refused("wrong-key-type")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _Refused("int-out-of-range")
    if isinstance(value, str) and len(value.encode()) > KEY_BYTES:
        raise _Refused("too-large")
    return value


def _time(value: Any, unit: str) -> int:
    """Microseconds: whole numbers toward the past, fractions to the nearest."""
    if value is None:
        raise _Refused("missing-time")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _Refused("bad-time")
    exact = Decimal(value).scaleb({"s": 6, "ms": 3, "us": 0, "ns": -3}[unit])
    rounding = ROUND_FLOOR if isinstance(value, int) else ROUND_HALF_EVEN
    if not FIRST - 1 <= exact <= LAST + 1:
        raise _Refused("bad-time")
    micros = int(exact.to_integral_value(rounding))
    if not FIRST <= micros <= LAST:
        raise _Refused("bad-time")
    return micros


def _column(value: Any, declared: str) -> Any:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise _Refused("int-out-of-range")
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, bool) != (declared == "bool") or not isinstance(value, _TYPES[declared]):
        raise _Refused("wrong-type")
    if isinstance(value, str) and len(value.encode()) > STRING_BYTES:
        raise _Refused("too-large")
    if declared == "float":
        assert isinstance(value, int | float)
        return float(value)
    return value


def by_key(events: Iterable[Event]) -> Mapping[tuple[type, str | int], list[Event]]:
    """The events of each key; 7 and "7" are different keys."""
    found: dict[tuple[type, str | int], list[Event]] = {}
    for event in events:
        found.setdefault((type(event.key), event.key), []).append(event)
    return found
