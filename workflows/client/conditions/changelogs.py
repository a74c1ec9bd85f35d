"""Changelogs that no metric writes."""

from __future__ import annotations

from collections.abc import Iterator

from .condition import Notice
from .look import Applied, Look


def check(look: Look, applied: Applied) -> Iterator[Notice]:
    """Whether the metric reads, as a changelog, a topic that no registered metric writes: its answers are as
    old as the last that did, though it has applied all that there is.
    """
    source = applied.metric.source
    written = {entry.metric.output.topic for entry in look.entries if entry.metric.output is not None}
    if source.changelog and source.topic not in written:
        yield Notice(
            f"topic {source.topic} is read as a changelog, and no registered metric writes it: nothing new "
            f"comes, unless from elsewhere. Apply a metric with output: {{topic: {source.topic}}}, or "
            "delete this one"
        )
