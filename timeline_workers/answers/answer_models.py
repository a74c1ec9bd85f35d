"""The shapes of answers: the same from `timeline eval`, `timeline query`, Python and the workflows' queries.

Times are in the unit asked with, durations in seconds, slopes per second; None is unknown or unbounded. An
int, a float, a string and a bool stay what they are.
"""

from __future__ import annotations

from typing import Any, Literal as Choice

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

Time = int | float | str
Value = bool | int | float | str | None
KindName = Choice["boolean", "state", "numeric"]


class Answer(BaseModel):
    """Base of all answers: strict and frozen. ``model_dump()`` leaves out the fields that do not apply."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _drop_what_does_not_apply(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {k: v for k, v in data.items() if k in self.model_fields_set}


class Doubt(Answer):
    """Why an answer may be wrong or old: the ``state`` of a worker or server that it rests on (see
    ``timeline get``), and the ``cause``.

    The field ``health`` of an answer; left out where all that it rests on is well. An answer in doubt is
    never final.
    """

    state: str
    cause: str


class ValueAt(Answer):
    """The value at an instant. ``since``: where this piece starts; ``until``: where the next one begins.

    ``slope`` is there for Numeric timelines only; ``aggregate`` for aggregates only (``key`` is the group).
    """

    key: str | int | float | bool | None
    aggregate: str = ""
    at: Time
    value: Value
    since: Time | None
    until: Time | None
    slope: int | float | None = None
    final: bool
    health: Doubt | None = None


class Span(Answer):
    """One piece of a timeline, half-open."""

    start: Time
    end: Time
    value: Value
    slope: int | float | None = None


class Spans(Answer):
    """The pieces over ``[start, end)``, cut to the range; before the origin there is none.

    ``final`` is left out where there is no watermark, as in the evaluation of a file; so in ``Change``.
    """

    key: str | int | float | bool | None
    aggregate: str = ""
    start: Time
    end: Time
    kind: KindName
    spans: list[Span]
    final: bool = False
    health: Doubt | None = None


class SecondsByValue(Answer):
    """Time spent in one value."""

    value: Value
    seconds: int | float


class Change(Answer):
    """The change over ``[start, end)``: ``change``, or ``seconds_by_value`` for State."""

    key: str | int | float | bool | None
    aggregate: str = ""
    start: Time
    end: Time
    kind: KindName
    change: int | float | None = None
    seconds_by_value: list[SecondsByValue] = []
    final: bool = False
    health: Doubt | None = None
