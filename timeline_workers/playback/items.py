"""Items that a player reads: records, changes, revisions, gaps and levels, all instants in microseconds.

``due`` is the instant of the axis that is played at which an item is shown: of the event axis the item's own
time, of the system axis the store's time at which it became known. ``seq`` is the store's own order, which
only grows: what was stored after a read has a greater one than the read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal as Choice

Scalar = bool | int | float | str | None
Position = int | str | tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What holds for all channels of a socket: see the request open."""

    axis: Choice["event", "system"] = "event"
    as_of: int | None = None
    edge: Choice["recorded", "final"] = "recorded"


@dataclass(frozen=True, slots=True)
class Record:
    """An event, a dead letter, or a finding about health."""

    due: int
    time: int
    key: Scalar
    payload: Mapping[str, Any]
    position: Position
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """From ``time`` on a node has another value, or another slope, for a key."""

    due: int
    time: int
    node: str
    key: Scalar
    value: Scalar
    slope: int | float | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A value and a slope (of Numeric) from ``time`` on."""

    time: int
    value: Scalar
    slope: int | float | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """From ``start`` on the timeline of a node and key is ``pieces``, other than was known before ``due``."""

    due: int
    node: str
    key: Scalar
    start: int
    pieces: tuple[Piece, ...]
    cause: str = "late event"
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Missing:
    """Of ``[start, end]`` something is not recorded; ``due``: where the player says so."""

    due: int
    start: int
    end: int
    why: str


Item = Record | Change | Revision | Missing


@dataclass(frozen=True, slots=True)
class NodeLevel:
    """The value of a node for a key at an instant, as answers have it."""

    node: str
    key: Scalar
    value: Scalar
    since: int | None
    until: int | None
    final: bool
    slope: int | float | None = None


@dataclass(frozen=True, slots=True)
class ChannelLevels:
    """Levels of a channel at an instant: ``count`` of them, of which ``levels`` are the busiest."""

    count: int
    levels: tuple[NodeLevel, ...]


@dataclass(frozen=True, slots=True)
class NodeOfChannel:
    """A node of a channel: see ``replies.NodeInfo``."""

    node: str
    name: str
    expression: str
    kind: Choice["boolean", "state", "numeric", "ratio"]


@dataclass(frozen=True, slots=True)
class OpenedChannel:
    """A channel that is open. ``complete_from``: nothing before is kept; None: all is."""

    channel: str
    kind: Choice["events", "timelines", "aggregate", "what-if", "health", "letters"]
    nodes: tuple[NodeOfChannel, ...] = ()
    keys: int | None = None
    complete_from: int | None = None

    @property
    def has_levels(self) -> bool:
        """Whether it has values at each instant, and not records."""
        return self.kind in ("timelines", "aggregate", "what-if")
