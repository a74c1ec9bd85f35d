"""Servers that do not answer."""

from __future__ import annotations

from collections.abc import Iterator

from .condition import Condition, Notice
from .look import Applied, Look


def check(look: Look, applied: Applied) -> Iterator[Condition | Notice]:
    """Whether the broker answers: nothing is fed without it. (Temporal does, or there were no look.)"""
    if look.broker_down is not None:
        yield Condition("unreachable", look.broker_down)
    elif applied.metric.source.topic not in look.waiting:
        why = look.broker_unknown or "the broker cannot be asked what waits in it"
        yield Notice(f"the lag behind topic {applied.metric.source.topic} is not known: {why}")
