"""Events from a JSON-lines file, unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from timeline_workers.errors import EventError, TimelineError
from timeline_workers.events.direction import Direction
from timeline_workers.events.times import to_microseconds

from .event import Event

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHAT_NOW = "the lines before it are sent; --lenient sends such lines, too"


class JsonLinesError(TimelineError):
    """A line has no usable key."""


def read(
    lines: Iterable[bytes], key: str, *, lenient: bool = False, newest_first: bool = False
) -> Iterator[Event]:
    """One event per line that is not blank, with the value at the dotted path ``key`` as its message key.

    The bytes are sent as they are, without a byte order mark at the start of the file. Raises JsonLinesError
    naming the line when it is not a JSON object or has no key; with ``lenient`` such a line is sent with an
    empty key, for the receiver to judge. ``newest_first``: from the last line to the first, all in memory.
    """
    numbered: Iterable[tuple[int, bytes]] = enumerate(lines, 1)
    for number, line in reversed(list(numbered)) if newest_first else numbered:
        payload = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).strip()
        if not payload:
            continue
        try:
            value = _at(msgspec.json.decode(payload), key)
        except msgspec.DecodeError as error:
            if not lenient:
                raise JsonLinesError(f"line {number} is not JSON: {error}; {_WHAT_NOW}") from None
            value = None
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            if not lenient:
                raise JsonLinesError(
                    f"line {number} has no key at {key!r} (found {json.dumps(value)}); {_WHAT_NOW}"
                )
            value = ""
        yield Event(str(value), 0.0, payload)


def peek(events: Iterator[Event], count: int) -> tuple[list[Event], Iterator[Event]]:
    """The first ``count`` events, and all of them; what is wrong with a line among them is raised there."""
    first: list[Event] = []
    wrong: JsonLinesError | None = None
    try:
        first.extend(islice(events, count))
    except JsonLinesError as error:
        wrong = error

    def everything() -> Iterator[Event]:
        yield from first
        if wrong is not None:
            raise wrong
        yield from events

    return first, everything()


def run_backwards(events: Iterable[Event], time: str, unit: str) -> bool:
    """Whether ``events`` run backwards in time, by their values at the dotted path ``time``; those that have
    none there do not count.
    """
    codes: dict[str, int] = {}
    seen: list[tuple[int, int]] = []
    for event in events:
        try:
            at = to_microseconds(_at(msgspec.json.decode(event.payload), time), unit)
        except (msgspec.DecodeError, EventError):
            continue
        seen.append((codes.setdefault(event.key, len(codes)), at))
    direction = Direction()
    direction.add(list(codes), *np.array(seen, np.int64).reshape(-1, 2).T)
    return direction.runs_backwards


def _at(event: Any, path: str) -> Any:
    if isinstance(event, dict) and path in event:
        return event[path]
    for name in path.split("."):
        if not isinstance(event, dict):
            return None
        event = event.get(name)
    return event
