"""Metric files: a name, a source and an expression (YAML, validated, unknown keys refused).

Example::

    name: cirr
    source:
      topic: playback-events
      key: session_id            # dotted path of the key in the event
      time: timestamp            # dotted path of the event time
      time_unit: s               # s, ms, us, ns or iso
      columns:
        playerStateChange: string
        device: {type: string, path: attributes.device}
      allowed_lateness: 1m
      partitions: 4              # or per-key
    expression: |
      duration_where(latest_event_to_state(playerStateChange) == "buffer")
"""

from __future__ import annotations

from typing import Annotated, Literal as Choice

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .language.durations import parse_duration

TimeUnit = Choice["s", "ms", "us", "ns", "iso"]
ColumnType = Choice["bool", "int", "float", "string"]


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Microseconds = Annotated[int, BeforeValidator(_duration), Field(ge=0)]


def _column(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class ColumnSpec(BaseModel):
    """A declared column: its type, and the dotted path it comes from (default: its own name)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: ColumnType
    path: str | None = None


class Source(BaseModel):
    """Where events come from and how to read them. ``allowed_lateness``, ``max_ahead``: microseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str
    key: str
    time: str
    time_unit: TimeUnit = "s"
    columns: dict[str, Annotated[ColumnSpec, BeforeValidator(_column)]] = Field(default_factory=dict)
    allowed_lateness: Microseconds = 3_600_000_000
    max_ahead: Microseconds = 86_400_000_000
    partitions: Annotated[int, Field(ge=1, le=4096)] | Choice["per-key"] = 1


class Metric(BaseModel):
    """A named expression over a source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
    description: str = ""
    source: Source
    expression: str
