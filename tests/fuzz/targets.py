"""The targets of fuzzing, and how large a share of the inputs each has."""

from __future__ import annotations

from tests.fuzz import boxes, events, expressions, metrics, wire
from tests.fuzz.findings import Target

TARGETS: dict[str, Target] = {
    "parser": expressions.run,
    "metric": metrics.run,
    "event": events.run,
    "leaf": wire.run_leaf,
    "edge": wire.run_edge,
    "state": wire.run_state,
    "inbox": wire.run_inbox,
    "box": boxes.run,
}
SHARES = {"parser": 23, "metric": 5, "event": 40, "leaf": 10, "edge": 10, "state": 6, "inbox": 3, "box": 3}
