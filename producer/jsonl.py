"""Events from a JSON-lines file, unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from timeline_workers.errors import TimelineError

from .event import Event

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHAT_NOW = "the lines before it are sent; --lenient sends such lines, too"


class JsonLinesError(TimelineError):
    """A line has no usable key."""


def read(lines: Iterable[bytes], key: str, *, lenient: bool = False) -> Iterator[Event]:
    """One event per line that is not blank, with the value at the dotted path ``key`` as its message key.

    The bytes are sent as they are, without a byte order mark at the start of the file. Raises JsonLinesError
    naming the line when it is not a JSON object or has no key; with ``lenient`` such a line is sent with an
    empty key, for the receiver to judge.
    """
    for number, line in enumerate(lines, 1):
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


def _at(event: Any, path: str) -> Any:
    if isinstance(event, dict) and path in event:
        return event[path]
    for name in path.split("."):
        if not isinstance(event, dict):
            return None
        event = event.get(name)
    return event
