"""Plain: the messages of tivo, for its own pages, as a translation to and from those of the player.

A socket without the subprotocol says ``{"action"|"command": "play", "start", "end", "speed", "loop"}`` and
``{…: "stop"}``, with times in ISO 8601 or in seconds, and is told each event's own object with
``__event_date`` (ISO 8601), and ``{"type", "text"}`` where something begins or ends. It acknowledges nothing:
whoever sends a frame acknowledges it when it is sent (``acknowledgement``). Nothing is thinned unless more
than 1,000 events come due within 10 ms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from timeline_workers.events.times import from_microseconds, to_microseconds

from .codes import DvrCode, RefusedRequest
from .replies import Failed, Frame, Looped, Message, RecordsPart, State, Stopped

CHANNEL: Final = "events"
_PLAY, _STOP, _OWN = "play", "stop", "plain"  # ids of what is asked for
_FIELDS: Final = ("start", "end", "speed", "loop")


class Plain:
    """One plain socket, on the events of ``topic``; ``unit``: of the times in the player's messages."""

    def __init__(self, topic: str, unit: str = "s") -> None:
        self._topic, self._unit = topic, unit

    def first(self) -> list[dict[str, Any]]:
        """What the player is asked before the client says anything."""
        channel = {"channel": CHANNEL, "events": self._topic}
        return [
            {"action": "open", "id": _OWN, "channels": [channel]},
            {"action": "limits", "id": _OWN, "records": 1000},
        ]

    def request(self, said: object) -> dict[str, Any]:
        """The request that a message is; fields that mean nothing here are left out.

        Raises RefusedRequest for what is no play and no stop.
        """
        if not isinstance(said, Mapping):
            raise RefusedRequest(
                DvrCode.BAD_MESSAGE, "a message is a JSON object; say an object with an action"
            )
        action = said.get("action", said.get("command"))
        if not isinstance(action, str) or action.lower() not in (_PLAY, _STOP):
            raise RefusedRequest(
                DvrCode.UNKNOWN_ACTION, f"the action is {action!r}; say play or stop", field="action"
            )
        action = action.lower()
        fields = _FIELDS if action == _PLAY else ()
        return {"action": action, "id": action, **{name: said[name] for name in fields if name in said}}

    def acknowledgement(self, message: Message) -> dict[str, Any] | None:
        """What to ask of the player once ``message`` is sent."""
        return {"action": "ack", "frame": message.frame} if isinstance(message, Frame) else None

    def texts(self, message: Message) -> list[str]:
        """What a message of the player is to the client: nothing, one message or several."""
        if isinstance(message, Frame):
            return [json.dumps(event, ensure_ascii=False) for event in self._events(message)]
        return [json.dumps({"type": kind, "text": text}) for kind, text in _words(message)]

    def _events(self, frame: Frame) -> list[dict[str, Any]]:
        part = frame.channels.get(CHANNEL)
        if not isinstance(part, RecordsPart):
            return []
        dated = ((from_microseconds(to_microseconds(r[0], self._unit), "iso"), r[2]) for r in part.records)
        return [{**payload, "__event_date": date} for date, payload in dated]


def _words(message: Message) -> list[tuple[str, str]]:
    if isinstance(message, State):
        if message.status == "ended":
            return [("END_NOLOOP", "the window has ended")]
        return [("PLAY", "playing")] if message.reply == _PLAY else []
    if isinstance(message, Stopped):
        left = [("EVENTS_CANCELED", f"{message.undelivered} events were not sent")]
        return [*left, ("STOP", "stopped")] if message.reply == _STOP else left
    if isinstance(message, Looped):
        return [("END_LOOP", f"the window begins again, for the {message.iteration}. time")]
    if isinstance(message, Failed):
        return [("ERROR", message.message)]
    return []
