"""Dead letters of targets: messages that were given up, in a topic as refused events have one."""

from __future__ import annotations

from typing import Final

import msgspec

from timeline_workers.alerts.sink_messages import SinkMessage
from timeline_workers.errors import StateError

_PREFIX: Final = "timeline-target-"


def letters_topic(target: str) -> str:
    """The topic whose dead letters are those of ``target``; there is nothing else in it."""
    return f"{_PREFIX}{target}"


def target_of(topic: str) -> str | None:
    """The target whose dead letters are those of ``topic``; None: it is a topic of events."""
    return topic.removeprefix(_PREFIX) if topic.startswith(_PREFIX) else None


class Unsent(msgspec.Struct, frozen=True):
    """A message that ``sink`` has given up."""

    sink: str
    told: SinkMessage


def read_letter(payload: bytes) -> Unsent:
    """The message that was given up. Raises StateError for another payload."""
    try:
        return msgspec.json.decode(payload, type=Unsent)
    except msgspec.MsgspecError as error:
        raise StateError(
            f"a dead letter of {len(payload)} bytes is no message of an alert: {error}"
        ) from error
