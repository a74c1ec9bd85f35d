"""``Alert``: what makes a metric an alert rule: its result is the truth of the rule, and this says how the
truth is told. ``alerts.alert_rule`` makes it of a rule's file.

Durations and instants are microseconds.
"""

from __future__ import annotations

from typing import Annotated, Literal as Choice, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

When: TypeAlias = Choice["provisional", "final"]
AsOf: TypeAlias = Choice["watermark", "clock"]
Duration = Annotated[int, Field(ge=0, strict=True)]
TEMPLATE_CHARACTERS = 16_384


class AlertMute(BaseModel):
    """Nobody is told of what begins in keys that match the glob ``key`` before ``until``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = "*"
    until: Annotated[int, Field(strict=True)]


class Alert(BaseModel):
    """How a rule tells. ``expression``, ``held_for``, ``keep``: what its file says is true, of which the
    metric's expression is made; the rest is as in ``alerts.alert_rule.Rule``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expression: str
    held_for: Duration | None = None
    keep: Duration | None = None
    when: When = "provisional"
    as_of: AsOf = "watermark"
    repeat: Duration
    mute: tuple[AlertMute, ...] = ()
    title: Annotated[str, Field(max_length=TEMPLATE_CHARACTERS)]
    text: Annotated[str, Field(max_length=TEMPLATE_CHARACTERS)]
    to: tuple[str, ...] = ()
