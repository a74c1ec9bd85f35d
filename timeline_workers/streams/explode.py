"""Exploding lists: events of which each is a message with one element of a list in the place of the list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timeline_workers.events.decode import Payload


@dataclass(frozen=True, slots=True)
class Refused:
    """What is no event. ``row``: its message's place in what was read; ``sub``: of an element, its
    index in the list, else None; ``reason``: a stable code."""

    row: int
    sub: int | None
    reason: str
    message: str


@dataclass(slots=True)
class Exploded:
    """``payloads``: an event for each element; ``rows``, ``subs``: where each comes from. Messages that could
    not be read are payloads as they are, for the decoder to say why."""

    payloads: list[Payload]
    rows: list[int]
    subs: list[int]
    refused: list[Refused]


def exploded(payloads: Sequence[Payload], path: str) -> Exploded:
    """Explode the list at the dotted ``path`` of each message; none, null or an empty one gives no event."""
    found = Exploded([], [], [], [])
    for row, payload in enumerate(payloads):
        event = _parsed(payload)
        if event is None:
            _add(found, row, 0, payload)
            continue
        elements = _at(event, path)
        if elements is None:
            continue
        if not isinstance(elements, list):
            message = f"field {path!r} is {type(elements).__name__}, and what is exploded is a list"
            found.refused.append(Refused(row, None, "not-a-list", message))
            continue
        for sub, element in enumerate(elements):
            _add(found, row, sub, _replaced(event, path, element))
    return found


def _add(found: Exploded, row: int, sub: int, payload: Payload) -> None:
    found.payloads.append(payload)
    found.rows.append(row)
    found.subs.append(sub)


def _parsed(payload: Payload) -> Mapping[str, Any] | None:
    if isinstance(payload, Mapping):
        return payload
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _at(event: Any, path: str) -> Any:
    """As paths are read everywhere: a field of the whole name goes before one of its first part."""
    if not isinstance(event, Mapping):
        return None
    if path in event:
        return event[path]
    head, dot, rest = path.partition(".")
    return _at(event.get(head), rest) if dot else None


def _replaced(event: Mapping[str, Any], path: str, element: Any) -> dict[str, Any]:
    if path in event:
        return {**event, path: element}
    head, _, rest = path.partition(".")
    return {**event, head: _replaced(event[head], rest, element)}
