"""The metrics by hand, for events in order: per key what must be known of it, and its duration so far.

Shared by the peers that leave the computation to the user's code (the plain loop, Bytewax, PyFlink).
"""

from __future__ import annotations

from typing import Any

SECOND = 1_000_000
SEEK_WINDOW = 5 * SECOND
FAR_WINDOW, MOVED_WINDOW, SPENT_WINDOW = 600 * SECOND, 70 * SECOND, 60 * SECOND
NEVER = -(2**62)


class Cirr:
    """``cirr``: an event is (player state, viewer's action, CDN), two of them None."""

    __slots__ = ("buffering", "duration", "on_cdn", "played", "seek_until", "since")
    columns = ("playerStateChange", "userAction", "cdn")

    def __init__(self) -> None:
        self.since = self.duration = 0
        self.buffering = self.played = self.on_cdn = False
        self.seek_until = 0

    def advance(self, now: int) -> None:
        """Count the time up to ``now``, of which none falls within the window of a seek."""
        if self.buffering and self.played and self.on_cdn:
            start = self.since if self.since > self.seek_until else self.seek_until
            if now > start:
                self.duration += now - start
        self.since = now

    def hear(self, now: int, event: tuple[Any, ...]) -> None:
        """Take one event."""
        self.advance(now)
        state, action, cdn = event
        if state is not None:
            self.buffering = state == "buffer"
            if state == "play":
                self.played = True
        if action == "seek":
            self.seek_until = now + SEEK_WINDOW
        if cdn is not None:
            self.on_cdn = cdn == "CDN1"


class Rebuffering(Cirr):
    """``rebuffering`` and ``stalls``: the same on any CDN; an event is (player state, viewer's action)."""

    __slots__ = ()
    columns = ("playerStateChange", "userAction")  # type: ignore[assignment]

    def hear(self, now: int, event: tuple[Any, ...]) -> None:
        """Take one event."""
        super().hear(now, (*event, "CDN1"))


class Playtime:
    """``playtime``: an event is (player state,)."""

    __slots__ = ("duration", "playing", "since")
    columns = ("playerStateChange",)

    def __init__(self) -> None:
        self.since = self.duration = 0
        self.playing = False

    def advance(self, now: int) -> None:
        """Count the time up to ``now``."""
        if self.playing:
            self.duration += now - self.since
        self.since = now

    def hear(self, now: int, event: tuple[Any, ...]) -> None:
        """Take one event."""
        self.advance(now)
        state = event[0]
        if state is not None:
            self.playing = state == "play"


class Outlier:
    """``outlier``: an event is (amount, km, hours, place), all known."""

    __slots__ = ("duration", "far_until", "moved_until", "place", "since", "spent_until")
    columns = ("amount", "km", "hours", "lat_long")

    def __init__(self) -> None:
        self.since = self.duration = 0
        self.far_until = self.moved_until = self.spent_until = NEVER
        self.place = None

    def advance(self, now: int) -> None:
        """Count the time up to ``now``."""
        end = max(self.far_until, min(self.moved_until, self.spent_until))
        if end > self.since:
            self.duration += min(now, end) - self.since
        self.since = now

    def hear(self, now: int, event: tuple[Any, ...]) -> None:
        """Take one event."""
        self.advance(now)
        amount, km, hours, place = event
        if km > 900 * hours:
            self.far_until = now + FAR_WINDOW
        if place != self.place:
            self.place, self.moved_until = place, now + MOVED_WINDOW
        if amount > 1000:
            self.spent_until = now + SPENT_WINDOW


SESSIONS: dict[str, type[Any]] = {
    "cirr": Cirr,
    "playtime": Playtime,
    "outlier": Outlier,
    "rebuffering": Rebuffering,
    "stalls": Rebuffering,
    "play": Playtime,
}
