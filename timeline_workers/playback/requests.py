"""Requests of the protocol ``timeline.dvr.v1``: what a client says to the player, one model an action.

``read_request`` makes one of a decoded JSON value. Every request may have an ``id``, which its reply echoes;
``command`` is taken for ``action``, and actions in capitals. Times are numbers in the unit of the socket
(seconds unless it says otherwise) or ISO 8601 text; what they mean is checked by the player, which knows the
unit. Errors: ``RefusedRequest``, with the code, the field and the fix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal as Choice

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    ValidationError,
    model_validator,
)

from timeline_workers.language.suggestions import nearest

from .codes import DvrCode, RefusedRequest

SLOWEST, FASTEST = 0.01, 10_000_000
CHANNELS: Final = 16
KEYS_OF_SNAPSHOT: Final = 200
LONGEST_REQUEST: Final = 64 * 1024  # bytes

_SAID = {"true": True, "false": False}

Time = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | StrictStr
"""An instant: a number in the unit of the socket, or ISO 8601 text."""

Key = StrictInt | StrictStr
Flag = Annotated[
    StrictBool | Choice["True", "False", "true", "false"],
    AfterValidator(lambda said: said if isinstance(said, bool) else _SAID[said.lower()]),
]
Speed = Annotated[
    StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)], Field(ge=SLOWEST, le=FASTEST)
]
Name = Annotated[StrictStr, Field(min_length=1, max_length=200)]
RequestId = StrictInt | Annotated[StrictStr, Field(max_length=200)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class EventsChannel(_Model):
    """The events of a topic or stored source, of some keys or (None) of all."""

    channel: Name
    events: Name
    keys: list[Key] | None = None


class TimelinesChannel(_Model):
    """Timelines of nodes of a metric: of all, of its result (``"result"``), or of those that are named."""

    channel: Name
    metric: Name
    nodes: Choice["all", "result"] | list[Name] = "result"
    keys: list[Key] | None = None


class AggregateChannel(_Model):
    """Timelines of the groups of an aggregate."""

    channel: Name
    metric: Name
    groups: Choice["all"] | list[Key | StrictBool | None]


class WhatIfChannel(_Model):
    """Timelines of an expression that need not be applied, over the events that ``like`` (a metric) reads."""

    channel: Name
    expression: Annotated[StrictStr, Field(min_length=1)]
    like: Name
    nodes: Choice["all", "result"] | list[Name] = "result"
    keys: list[Key] | None = None


class HealthChannel(_Model):
    """How metrics were: a record each time that one became ok, lagging, down, …"""

    channel: Choice["health"]


class LettersChannel(_Model):
    """The dead letters of a topic."""

    channel: Name
    topic: Name


def _kind(said: Any) -> str:
    fields = said if isinstance(said, Mapping) else getattr(said, "__dict__", {})
    if "metric" in fields:
        return "aggregate" if "groups" in fields else "timelines"
    found = [kind for field, kind in _KINDS.items() if field in fields]
    return found[0] if found else "health"


_KINDS = {"events": "events", "expression": "what-if", "topic": "letters"}

Channel = Annotated[
    Annotated[EventsChannel, Tag("events")]
    | Annotated[TimelinesChannel, Tag("timelines")]
    | Annotated[AggregateChannel, Tag("aggregate")]
    | Annotated[WhatIfChannel, Tag("what-if")]
    | Annotated[HealthChannel, Tag("health")]
    | Annotated[LettersChannel, Tag("letters")],
    Discriminator(_kind),
]


class Request(_Model):
    """What all requests have: the ``id`` that is echoed as ``reply``."""

    id: RequestId | None = None


class Open(Request):
    """Open channels under the playhead. Without ``axis``, ``as_of`` and ``edge`` these stay what they are.

    ``axis``: which time is played, that of events or that at which the store learnt of them. ``as_of``: the
    instant of the store's time as of which it is asked; null: now. ``edge``: where live is, at the greatest
    recorded time or at the watermark. One view holds for all channels of a socket.
    """

    action: Choice["open"] = "open"
    channels: Annotated[list[Channel], Field(min_length=1)]
    axis: Choice["event", "system"] = "event"
    as_of: Time | None = None
    edge: Choice["recorded", "final"] = "recorded"


class Close(Request):
    """Close channels; the reply lists those that are left."""

    action: Choice["close"] = "close"
    channels: Annotated[list[Name], Field(min_length=1)]


class Play(Request):
    """Play a window, both ends included.

    ``start`` absent: from where the playhead is, from the start when that has ended. ``end`` absent: to the
    live edge and on. ``speed`` absent: as it was, 1 at first.
    """

    action: Choice["play"] = "play"
    start: Time | None = None
    end: Time | None = None
    speed: Speed | None = None
    loop: Flag = False


class Pause(Request):
    """Stand still; at the live edge that is time shift."""

    action: Choice["pause"] = "pause"


class Resume(Request):
    """Go on from where it stands."""

    action: Choice["resume"] = "resume"


class Stop(Request):
    """Give the window up."""

    action: Choice["stop"] = "stop"


class SetSpeed(Request):
    """Go on at another speed: seconds of recorded time a second."""

    action: Choice["speed"] = "speed"
    speed: Speed


class Seek(Request):
    """Jump: to an instant, cut to the window; ``live``: to the live edge, whatever the window."""

    action: Choice["seek"] = "seek"
    to: Time  # or start, end, live


class Step(Request):
    """Go to the next or the last change or event (of one channel, or of all), or by a duration, and pause."""

    action: Choice["step"] = "step"
    by: StrictStr  # change, event, or a duration as 1s, 250ms
    channel: Name | None = None
    back: Flag = False


class Loop(Request):
    """Loop a part of the window, or no longer."""

    action: Choice["loop"] = "loop"
    from_: Annotated[Time | None, Field(alias="from")] = None
    to: Time | None = None
    off: Flag = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Loop:
        if self.off is (self.from_ is not None and self.to is not None):
            raise ValueError("say from and to, or off: true")
        return self


class At(Request):
    """Every channel's level at an instant, without moving the playhead."""

    action: Choice["at"] = "at"
    at: Time
    channels: list[Name] | None = None


class Ack(Request):
    """All frames up to ``frame`` are there. It has a reply only if it has an ``id``, or is wrong."""

    action: Choice["ack"] = "ack"
    frame: Annotated[StrictInt, Field(ge=1)]


class SetLimits(Request):
    """What the client can take; what is absent stays. ``idle_limit``: seconds, null for no compression."""

    action: Choice["limits"] = "limits"
    frames_per_second: Annotated[StrictInt, Field(ge=1, le=100)] = 100
    records: Annotated[StrictInt, Field(ge=1, le=10_000)] = 200
    idle_limit: Annotated[StrictInt | StrictFloat, Field(ge=0.01, le=86_400)] | None = None


AnyRequest = (
    Open | Close | Play | Pause | Resume | Stop | SetSpeed | Seek | Step | Loop | At | Ack | SetLimits
)

REQUESTS: Final[dict[str, type[Request]]] = {
    "open": Open,
    "close": Close,
    "play": Play,
    "pause": Pause,
    "resume": Resume,
    "stop": Stop,
    "speed": SetSpeed,
    "seek": Seek,
    "step": Step,
    "loop": Loop,
    "at": At,
    "ack": Ack,
    "limits": SetLimits,
}

# What is wrong with a field, by its name; the first that stands on the way to it.
_CODES = {
    "start": DvrCode.BAD_TIME,
    "end": DvrCode.BAD_TIME,
    "from": DvrCode.BAD_TIME,
    "to": DvrCode.BAD_TIME,
    "at": DvrCode.BAD_TIME,
    "as_of": DvrCode.BAD_TIME,
    "speed": DvrCode.BAD_SPEED,
    "back": DvrCode.BAD_FLAG,
    "off": DvrCode.BAD_FLAG,
    "loop": DvrCode.BAD_FLAG,
    "frame": DvrCode.BAD_ACK,
    "frames_per_second": DvrCode.BAD_RANGE,
    "records": DvrCode.BAD_RANGE,
    "idle_limit": DvrCode.BAD_RANGE,
}
_FIXES = {
    DvrCode.BAD_TIME: "say a number in the unit of the socket or ISO 8601 text",
    DvrCode.BAD_SPEED: f"say a number from {SLOWEST} to {FASTEST}",
    DvrCode.BAD_FLAG: 'say true or false (or the text "True" or "False")',
    DvrCode.BAD_ACK: "say the number of a frame that was received",
}


def read_request(said: object) -> AnyRequest:
    """The request that a JSON value is. Raises RefusedRequest, which knows the ``id`` where there is one."""
    if not isinstance(said, dict):
        raise RefusedRequest(
            DvrCode.BAD_MESSAGE,
            f"a message is a JSON object, not {_shown(said)}; say an object with an action",
        )
    fields = dict(said)
    number = fields.get("id")
    reply = number if isinstance(number, int | str) and not isinstance(number, bool) else None
    named = [name for name in ("action", "command") if name in fields]
    if len(named) != 1 or not isinstance(fields[named[0]], str):
        raise RefusedRequest(
            DvrCode.BAD_MESSAGE,
            f'a message names one action as text; say {{"action": one of {", ".join(REQUESTS)}}}',
            field="action",
            reply=reply,
        )
    action = fields.pop(named[0])
    model = REQUESTS.get(action.lower())
    if model is None:
        near = nearest(action.lower(), REQUESTS)
        raise RefusedRequest(
            DvrCode.UNKNOWN_ACTION,
            f"there is no action {_shown(action)}; say one of {', '.join(REQUESTS)}",
            field="action",
            hint=f"did you mean {near}?" if near else None,
            reply=reply,
        )
    try:
        return model.model_validate(fields)  # type: ignore[return-value]
    except ValidationError as error:
        raise _refusal(error, reply) from None


def _refusal(error: ValidationError, reply: int | str | None) -> RefusedRequest:
    first = error.errors(include_url=False, include_context=False)[0]
    path = [str(part) for part in first["loc"]]
    field = path[0] if path else None
    known = first["type"] not in ("extra_forbidden", "missing")
    code = _CODES.get(field or "", DvrCode.BAD_MESSAGE) if known else DvrCode.BAD_MESSAGE
    if first["type"] == "missing":
        message = f"{field or 'a field'} is missing; say it"
    elif first["type"] == "extra_forbidden":
        message = f"there is no field {'.'.join(path)} here; leave it out"
    else:
        rule = _FIXES.get(code, first["msg"].removeprefix("Value error, "))
        message = f"{'.'.join(path) or 'the message'} is {_shown(first['input'])}: {rule}"
    return RefusedRequest(code, message, field=field, reply=reply)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
