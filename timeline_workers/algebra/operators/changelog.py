"""``changelog(kind)``: what the messages of a changelog say (``nodes.changelog_node`` computes it)."""

from __future__ import annotations

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.timeline.timelines import Timeline

from .kernels import over_events
from .recompute import RecomputeRequest

_LAYOUTS = {"boolean": "flags", "state": "tagged", "number": "tagged", "numeric": "linear"}


class Changelog:
    """Of the kind that it names."""

    lookback = 0
    keeps_first = False

    def __init__(self, kind: str) -> None:
        self.layout = _LAYOUTS[kind]

    def apply(self, events: EventLog, request: RecomputeRequest) -> Timeline:
        """Nothing computes a changelog from events: the node takes its messages as they are."""
        raise NotImplementedError("a changelog is no function of events")


over_events("changelog", lambda node: Changelog(node.kind))
