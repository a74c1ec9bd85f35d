"""Result workers that have not applied yet what the event processors have."""

from __future__ import annotations

from collections.abc import Iterator

from .condition import Condition
from .feeding import lacking_since
from .look import Applied, Look

BEHIND_SECONDS = 5.0


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Whether some result worker has lacked for long what a worker of the metric has applied.

    That is, how long the first message that it lacks has been in the topic. Where the broker cannot be asked,
    it is as long as lies between the publish times of the two places at most, of one source partition each:
    to say so when the topic has only been silent in between is better than to say nothing.
    """
    short = applied.shortfalls
    if not short:
        return
    topic = applied.metric.source.topic
    if topic in look.waiting:
        since = lacking_since(look, applied)
        if since is None or since == look.waiting[topic]:
            return  # nobody was fed it
        worst, seconds = min(short, key=lambda one: one.reached), look.now - since / 1e6
        of = f"{seconds:.0f} s"
    else:
        worst = max(short, key=lambda one: one.most_seconds or 0.0)
        seconds = worst.most_seconds or 0.0
        of = f"up to {seconds:.0f} s"
    if seconds > BEHIND_SECONDS:
        yield Condition(
            "lagging",
            f"it is {of} behind what the event processors have applied; its worker processes are "
            "overloaded, or a worker between them makes no progress",
            worst.worker,
        )
