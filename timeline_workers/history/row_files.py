"""Rows of an exported history: events with their verdicts, and pieces, as flat objects. No I/O.

Times are microseconds of event time, ``seen`` and ``published`` of system time. ``key`` and ``value`` are
JSON as text; a value that has a ``slope`` is exact, and both are fractions, such as ``5/2``. A ``payload`` is
bytes; ``to_json`` and ``from_json`` write and read a row as a line of JSON, in which it is text, or Base64
under another name where it is no UTF-8. Raise QuestionError for what is no row.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import QuestionError, StateError

from .model import Outcome, Piece, Position, RawEvent, StoredEvent, Verdict
from .text import key_of, key_text, slope_of, slope_text, value_of, value_text

Row = dict[str, Any]
EVENT = (
    *("topic", "definition", "partition", "major", "minor", "published", "key", "time", "outcome"),
    *("reason", "message", "below", "seen", "payload"),
)
PIECE = ("node", "key", "start", "until", "value", "slope", "seen")
_BASE64 = "payload_base64"


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """An event that was exported, with the verdict of one definition."""

    topic: str
    definition: str
    event: RawEvent
    verdict: Verdict


def event_row(topic: str, definition: str, event: StoredEvent) -> Row:
    """A stored event as a row."""
    key = None if event.key is None else key_text(event.key)
    said = (event.outcome.value, event.reason, event.message, event.below, event.seen, event.payload)
    place = (*event.position, event.published, key, event.time)
    return dict(zip(EVENT, (topic, definition, *place, *said), strict=True))


def event_of(row: Mapping[str, Any]) -> JudgedEvent:
    """Reverse ``event_row``."""
    try:
        position = Position(int(row["partition"]), int(row["major"]), int(row["minor"]))
        verdict = Verdict(
            position,
            Outcome(row["outcome"]),
            None if row["key"] is None else cast(Key, key_of(row["key"])),
            row["time"],
            row["reason"] or "",
            row["message"] or "",
            bool(row["below"]),
        )
        raw = RawEvent(position, bytes(row["payload"]), int(row["published"]))
        return JudgedEvent(str(row["topic"]), str(row["definition"]), raw, verdict)
    except (KeyError, TypeError, ValueError, StateError) as error:
        raise _no_row("event", row, EVENT, error) from None


def piece_row(piece: Piece) -> Row:
    """A piece as a row."""
    told = (value_text(piece.value), slope_text(piece.slope), piece.seen_from)
    return dict(zip(PIECE, (piece.node, key_text(piece.key), piece.start, piece.until, *told), strict=True))


def piece_of(row: Mapping[str, Any]) -> Piece:
    """Reverse ``piece_row``."""
    try:
        return Piece(
            str(row["node"]),
            key_of(row["key"]),
            int(row["start"]),
            row["until"],
            value_of(row["value"]),
            slope_of(row["slope"]),
            int(row["seen"]),
            None,
        )
    except (KeyError, TypeError, ValueError, StateError) as error:
        raise _no_row("piece", row, PIECE, error) from None


def to_json(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON, without its end."""
    shown = dict(row)
    if (payload := shown.pop("payload", None)) is not None:
        try:
            shown["payload"] = payload.decode()
        except UnicodeDecodeError:
            shown[_BASE64] = base64.b64encode(payload).decode()
    return json.dumps(shown, ensure_ascii=False)


def from_json(line: str | bytes) -> Row:
    """Reverse ``to_json``."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("it is no object")
        if _BASE64 in row:
            row["payload"] = base64.b64decode(row.pop(_BASE64), validate=True)
        elif "payload" in row:
            row["payload"] = row["payload"].encode()
    except (ValueError, AttributeError, RecursionError) as error:
        raise QuestionError(f"{line!r:.200} is no row of an exported history: {error}") from None
    return cast(Row, row)


def _no_row(what: str, row: Mapping[str, Any], fields: tuple[str, ...], error: Exception) -> QuestionError:
    known = ", ".join(fields)
    return QuestionError(f"{dict(row)!r:.200} is no {what} of a history, which has {known}: {error!r:.100}")
