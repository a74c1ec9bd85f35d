"""Replies of the protocol ``timeline.dvr.v1``: what the player says to a client, one model a ``type``.

Instants are numbers in the unit of the socket, slopes are per second, None is unknown. ``reply`` is the
``id`` of the request that a message answers; a message that answers none, or one without ``id``, has none.
``to_json`` leaves out what does not apply.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal as Choice

from pydantic import BaseModel, ConfigDict, Field

from .codes import DvrCode

PROTOCOL = "timeline.dvr.v1"

Instant = int | float
Value = bool | int | float | str | None
Group = bool | int | float | str | None
Reply = int | str | None
Status = Choice["playing", "paused", "buffering", "live", "ended", "stopped"]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True, use_enum_values=True
    )


class Message(_Model):
    """Base of all messages. ``optional``: the fields that are left out where they are None."""

    optional: ClassVar[frozenset[str]] = frozenset()

    def to_json(self) -> str:
        """The text that is sent."""
        dropped = {name for name in self.optional if getattr(self, name) is None}
        return self.model_dump_json(exclude=dropped)


class Range(_Model):
    """What is recorded: the least instant, the live edge, and the watermark; None: nothing, or unknown."""

    start: Instant | None
    live: Instant | None
    final: Instant | None


class Limits(_Model):
    """What holds for this socket until the client says otherwise."""

    frames_per_second: int
    records: int
    idle_limit: float | None
    unacknowledged: int
    channels: int
    keys: int


class Hello(Message):
    """First on a socket. ``now``: the store's clock, None while the store is down."""

    type: Choice["hello"] = "hello"
    protocol: Choice["timeline.dvr.v1"] = "timeline.dvr.v1"
    version: str
    range: Range
    limits: Limits
    capabilities: list[Choice["events", "timelines", "what-if", "as-of"]]
    now: Instant | None


class NodeInfo(_Model):
    """A node of a channel: its stable name, its text, and the kind of its timelines."""

    node: str
    name: str
    expression: str
    kind: Choice["boolean", "state", "numeric", "ratio"]


class ChannelInfo(_Model):
    """A channel that is open. ``complete_from``: nothing before is kept; None: all is."""

    channel: str
    kind: Choice["events", "timelines", "aggregate", "what-if", "health", "letters"]
    nodes: list[NodeInfo] = []
    keys: int | None = None
    complete_from: Instant | None = None


class Opened(Message):
    """Reply to open (the channels that it opened) and to close (those that are left)."""

    optional = frozenset({"reply"})

    type: Choice["opened"] = "opened"
    reply: Reply = None
    channels: list[ChannelInfo]


class State(Message):
    """Where the player is; reply to what moves it, and sent when it moves by itself.

    ``position`` has shown all with time up to it. ``start`` and ``end`` are those of the window or, while it
    loops, of the loop; ``end`` None: the live edge. ``jump``: the position did not get there by playing.
    """

    optional = frozenset({"reply"})

    type: Choice["state"] = "state"
    reply: Reply = None
    status: Status
    position: Instant | None
    speed: float
    loop: bool
    start: Instant | None
    end: Instant | None
    epoch: int
    jump: bool = False


class Level(_Model):
    """The value of a node for a key at an instant; ``slope`` for Numeric only."""

    node: str
    key: Group
    value: Value
    since: Instant | None
    until: Instant | None
    slope: int | float | None = None
    final: bool


class Snapshot(Message):
    """Every channel's level at ``at``: before any frame of an epoch, and in reply to at.

    ``counts``: how many levels there are of the channels of which only the busiest are shown.
    """

    optional = frozenset({"reply", "counts"})

    type: Choice["snapshot"] = "snapshot"
    reply: Reply = None
    epoch: int
    at: Instant
    channels: dict[str, list[Level]]
    counts: dict[str, int] | None = None


class RecordsPart(_Model):
    """Records of a channel that came due: ``count`` of them, an even sample of them, and the rest counted.

    A record is ``[time, key, object, position]``.
    """

    count: int
    records: list[list[Any]]
    skipped: int = 0


class ChangesPart(_Model):
    """Changes of a channel that came due: over the limit the last of each (node, key), the rest counted.

    A change is ``[time, node, key, value, slope]``.
    """

    count: int
    changes: list[list[Any]]
    skipped: int = 0


class Frame(Message):
    """What came due in ``(from, to]``; in an epoch's first, in ``[from, to]``. Counts always add up."""

    type: Choice["frame"] = "frame"
    epoch: int
    frame: int
    from_: Annotated[Instant, Field(alias="from")]
    to: Instant
    channels: dict[str, RecordsPart | ChangesPart]


class Revised(Message):
    """What is already on screen changed: of a node and key from ``from`` on, or records that came late.

    ``pieces``: ``[time, value, slope]``, up to the playhead; ``records`` as in a frame.
    """

    optional = frozenset({"node", "key", "pieces", "records"})

    type: Choice["revision"] = "revision"
    epoch: int
    channel: str
    node: str | None = None
    key: Group = None
    from_: Annotated[Instant, Field(alias="from")]
    pieces: list[list[Any]] | None = None
    records: list[list[Any]] | None = None
    cause: str


class Watermark(Message):
    """Below ``final`` no answer of the channel changes any more."""

    type: Choice["watermark"] = "watermark"
    channel: str
    final: Instant


class Looped(Message):
    """A loop begins again; ``iteration`` counts from 1."""

    type: Choice["loop"] = "loop"
    epoch: int
    iteration: int


class Skip(Message):
    """A stretch with nothing in it is crossed faster than the speed says."""

    type: Choice["skip"] = "skip"
    epoch: int
    from_: Annotated[Instant, Field(alias="from")]
    to: Instant


class Gap(Message):
    """Of this stretch something is missing, and why. ``from`` None: from the beginning."""

    type: Choice["gap"] = "gap"
    channel: str
    from_: Annotated[Instant | None, Field(alias="from")]
    to: Instant
    why: str


class Stopped(Message):
    """A window was given up; ``undelivered``: how many of its records and changes were not shown."""

    optional = frozenset({"reply"})

    type: Choice["stopped"] = "stopped"
    reply: Reply = None
    undelivered: int


class Failed(Message):
    """A request, or (without ``reply``) a read of the player's own, came to nothing; nothing has changed."""

    optional = frozenset({"reply", "field", "hint", "span"})

    type: Choice["error"] = "error"
    reply: Reply = None
    code: DvrCode
    message: str
    field: str | None = None
    hint: str | None = None
    span: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None


AnyMessage = (
    Hello | Opened | State | Snapshot | Frame | Revised | Watermark | Looped | Skip | Gap | Stopped | Failed
)
