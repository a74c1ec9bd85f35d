"""Reads that the player asks for, and their answers.

The player numbers its reads; each is answered once, by its answer or by a ``ReadFailed``, or was cancelled by
then. All instants are microseconds of the axis in ``view``; ``channels`` are names of open channels, in the
order in which they were opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal as Choice

from .codes import DvrCode
from .items import ChannelLevels, Item, OpenedChannel, Record, Revision, View
from .requests import Channel


@dataclass(frozen=True, slots=True)
class OpenRead:
    """Open channels: answered by ``OpenAnswer``. ``beside``: those that are open; others were closed."""

    channels: tuple[Channel, ...]
    view: View
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """What was opened, in the order asked for."""

    channels: tuple[OpenedChannel, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """How far the store is, and what has changed since ``since`` (None: only how far): ``LookAnswer``.

    ``upto``: what was played; what changed up to there is asked for in full. Without channels the range is
    that of all that is recorded.
    """

    channels: tuple[str, ...]
    view: View
    since: int | None = None
    upto: int | None = None


@dataclass(frozen=True, slots=True)
class LookAnswer:
    """``start``, ``live``: the least and the greatest recorded instant, None where nothing is recorded.

    ``live`` is that of the view's edge. ``final``: the watermarks of channels that have one.
    ``changed_from``: the least instant at which anything was stored since. ``revisions``, ``late``: of these
    what lies up to ``upto``, timelines and records. ``now``: the store's clock, microseconds since the epoch.
    """

    seq: int
    start: int | None
    live: int | None
    now: int
    final: Mapping[str, int] = field(default_factory=dict)
    complete_from: Mapping[str, int | None] = field(default_factory=dict)
    changed_from: int | None = None
    revisions: tuple[tuple[str, Revision], ...] = ()
    late: tuple[tuple[str, Record], ...] = ()


@dataclass(frozen=True, slots=True)
class WindowRead:
    """Items due in ``(after, to]``, those of channels with levels in ``(levels_after, to]``: ``Window``.

    At most ``limit``, but whole instants: one instant may have more.
    """

    channels: tuple[str, ...]
    view: View
    after: int
    levels_after: int
    to: int
    limit: int


@dataclass(frozen=True, slots=True)
class Window:
    """All items due up to ``upto``, as it was at ``seq``; in the order of (due, channel, position)."""

    upto: int
    seq: int
    items: tuple[tuple[str, Item], ...]


@dataclass(frozen=True, slots=True)
class SnapshotRead:
    """Levels at ``at``: ``SnapshotAnswer``; of at most ``keys`` keys a channel, those that change most."""

    channels: tuple[str, ...]
    view: View
    at: int
    keys: int


@dataclass(frozen=True, slots=True)
class SnapshotAnswer:
    """Levels by channel, as they were at ``seq``."""

    seq: int
    channels: Mapping[str, ChannelLevels]


@dataclass(frozen=True, slots=True)
class NeighbourRead:
    """The nearest instant after ``at`` (``back``: before) at which an item is due: ``Neighbour``."""

    channels: tuple[str, ...]
    view: View
    at: int
    back: bool = False
    purpose: Choice["step", "idle"] = "step"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The instant; None where there is none."""

    due: int | None


@dataclass(frozen=True, slots=True)
class CountRead:
    """How many records and changes a ``WindowRead`` without limit would give: ``Count``."""

    channels: tuple[str, ...]
    view: View
    after: int
    levels_after: int
    to: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many."""

    items: int


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """A read came to nothing: the code and the words of the error; see ``codes.RefusedRequest``."""

    reason: DvrCode
    message: str
    field: str | None = None
    hint: str | None = None
    span: tuple[int, int] | None = None


Read = OpenRead | Look | WindowRead | SnapshotRead | NeighbourRead | CountRead
Answer = OpenAnswer | LookAnswer | Window | SnapshotAnswer | Neighbour | Count | ReadFailed
