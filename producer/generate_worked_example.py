"""The events of the CIDR 2023 paper's example of connection-induced rebuffering (Figure 1), with times in
seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

from .event import Event, encode

WORKED_EXAMPLE: tuple[tuple[int, str, str], ...] = (
    (0, "playerStateChange", "init"),
    (1, "cdnChange", "CDN1"),
    (2, "playerStateChange", "play"),
    (10, "playerStateChange", "buffer"),
    (14, "userAction", "seek"),
    (22, "playerStateChange", "play"),
    (25, "playerStateChange", "pause"),
    (30, "cdnChange", "CDN2"),
    (40, "playerStateChange", "buffer"),
    (45, "playerStateChange", "play"),
)


def worked_example(session: str = "s1", start: int = 0) -> Iterator[Event]:
    """The example's events for one session, its first event at ``start`` seconds since the epoch."""
    for time, column, value in WORKED_EXAMPLE:
        event = {"session_id": session, "timestamp": start + time, column: value}
        yield Event(session, start + time, encode(event))
