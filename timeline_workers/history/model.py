"""Types of the history: what is appended to a store, and what it answers.

Times are event times in microseconds. ``seen`` is system time: microseconds of the store's own clock, which
never goes back and is another for each transaction that appended something.

A *source definition* is how a metric's events are judged, named by ``definition_of``: metrics that read a
topic alike and refuse the same events share it, and one event has one verdict for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Scalar
from timeline_workers.plan.reading import Reading

Group: TypeAlias = Scalar | None
"""A key, or the group of an aggregate. ``1``, ``1.0``, ``True`` and ``"1"`` are different."""
Value: TypeAlias = Scalar | Fraction | None
"""The value of a piece where it starts, exact; None is unknown."""
Stamp: TypeAlias = tuple[int, int]
"""What one writer's appends are ordered by: one that is not greater than the last was appended before."""


class Position(NamedTuple):
    """The place of an event in its topic."""

    partition: int
    major: int
    minor: int


class Outcome(StrEnum):
    """What became of an event."""

    ACCEPTED = "accepted"
    LATE = "late"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event as it came. ``published``: when, microseconds; 0 where that is not known."""

    position: Position
    payload: bytes
    published: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one source definition makes of the event at ``position``.

    ``key``, ``time``: None where the event has none that can be read. ``reason``, ``message``: why it was not
    accepted. ``below``: its time lay below the watermark before it. So of one that is refused for a column's
    value it is known, too, whether it would have been late: another expression may take it.
    """

    position: Position
    outcome: Outcome
    key: Key | None
    time: int | None
    reason: str = ""
    message: str = ""
    below: bool = False


class Followed(NamedTuple):
    """How far one partition of a topic has been followed by a source definition, and its watermark there:
    whoever goes on after it leaves nothing out. What was missed before is in the gaps.
    """

    major: int
    minor: int
    watermark: int | None


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts of one source ``definition``. ``watermarks``: of every partition of the topic, as they are
    after these events; None for one that has none yet. ``followed``: how far partitions have been followed
    with these verdicts; a place that is not further than the stored one is not taken.
    """

    definition: str
    verdicts: Sequence[Verdict]
    watermarks: Mapping[int, int | None] = field(default_factory=dict)
    followed: Mapping[int, Followed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """Of ``of``, a topic or a node, nothing may be stored for the event times ``[since, until)``: ``why``
    says it in words. None: without end on that side. ``seen``: when the store was told (0 before).
    """

    of: str
    since: int | None
    until: int | None
    why: str
    seen: int = 0


class StoredEvent(NamedTuple):
    """An event with its verdict by one source definition. ``seen``: when the store was told the verdict."""

    position: Position
    payload: bytes
    published: int
    key: Key | None
    time: int | None
    outcome: Outcome
    reason: str
    message: str
    below: bool
    seen: int


class EventCursor(NamedTuple):
    """A place in the order of events, to go on after."""

    time: int
    position: Position


@dataclass(frozen=True, slots=True)
class Writer:
    """Who appends revisions: one of the ``partitions`` workers of ``node`` (one name a writer, for good); 0:
    it says again what others have said, and its watermark counts where there are none of these.

    ``node``: the node's name; of an aggregate with the function, as ``node_of`` writes it.
    """

    name: str
    node: str
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class Revision:
    """Of ``key``, from ``since`` on, the timeline is ``pieces``: (start, value, slope), ascending.

    ``slope`` is per second, None where the values are no exact numbers. Where the first piece starts after
    ``since``, what held just before ``since`` goes on until then; where nothing did, there is nothing.
    """

    key: Group
    since: int
    pieces: Sequence[tuple[int, Value, Fraction | None]]


class Piece(NamedTuple):
    """A stretch ``[start, until)`` of the timeline of ``key`` at ``node``; ``until`` None: it lasts.

    It was known from ``seen_from`` on, and is no longer since ``seen_until`` (None: still is).
    """

    node: str
    key: Group
    start: int
    until: int | None
    value: Value
    slope: Fraction | None
    seen_from: int
    seen_until: int | None


class PieceCursor(NamedTuple):
    """A place in the order of pieces, to go on after."""

    start: int
    node: str
    key: Group


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did. ``seen``: its system time; where all was stored before (``fresh`` is False), that
    of the last append."""

    seen: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class KeysActive:
    """How many keys had events in a window, and the busiest of them, with their numbers of events."""

    count: int
    busiest: list[tuple[Key, int]]


@dataclass(frozen=True, slots=True)
class Changed:
    """The timeline of ``key`` at ``node`` is another than before, on ``[since, until)`` at most; ``until``
    None: from there on. ``seen``: when the store was last told so.
    """

    node: str
    key: Group
    since: int
    until: int | None
    seen: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed up to system time ``seen``, by key and node. Ask on from ``seen``: it is earlier than was
    asked for where ``limit`` cut the answer short.
    """

    seen: int
    changed: list[Changed]


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be forgotten: what is stored by these source definitions, and of these nodes."""

    definitions: Sequence[str] = ()
    nodes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many events, verdicts and pieces were deleted."""

    events: int
    verdicts: int
    pieces: int


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a store reaches for one source definition. ``seen``: the store's last system time; ``first``,
    ``last``: the least and greatest time of its accepted events; ``watermark``: of its topic, None while some
    partition has none; ``kept_from``: nothing below this event time can be asked for (None: all can).
    """

    topic: str
    seen: int
    first: int | None
    last: int | None
    watermark: int | None
    kept_from: int | None


@dataclass(frozen=True, slots=True)
class DefinitionStatus:
    """What is stored by one source definition. ``first``, ``last``: event times, None where there is none;
    ``watermark``: of its topic, None while some partition has none; ``kept_from``: as of ``Reach``.
    """

    definition: str
    topic: str
    outcomes: Mapping[Outcome, int]
    first: int | None
    last: int | None
    watermark: int | None
    kept_from: int | None = None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What is stored of one node. ``watermark``: None while some of its writers has none; ``kept_from``:
    nothing below this event time can be asked for (None: all can).
    """

    node: str
    keys: int
    watermark: int | None
    kept_from: int | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """Of what a store holds anything, without counting it. ``seen``: its last system time; ``definitions``:
    source definitions, and the topic of each; ``kept_from``: as of ``Status``.
    """

    seen: int
    definitions: Mapping[str, str]
    nodes: frozenset[str]
    kept_from: int | None
    gaps: list[Gap]


@dataclass(frozen=True, slots=True)
class Status:
    """What a store holds. ``store``: which it is, in words; ``seen``: its last system time; ``events``: raw
    events by topic; ``rows``: change points, superseded ones included; ``bytes``: on disk;
    ``kept_from``: of nothing can be asked for what lies below this event time (None: of something all can).
    """

    store: str
    seen: int
    events: Mapping[str, int]
    definitions: list[DefinitionStatus]
    nodes: list[NodeStatus]
    rows: int
    bytes: int
    kept_from: int | None
    gaps: list[Gap]


def definition_of(reading: Reading) -> str:
    """The name of a source definition: its topic, and ten hex digits over all that a verdict depends on."""
    fields = sorted(reading.source.model_dump(mode="json", exclude={"columns"}).items())
    digest = hashlib.sha256(repr((fields, reading.judgement())).encode()).hexdigest()
    return f"{reading.source.topic}-{digest[:10]}"


def node_of(node: str, function: str = "") -> str:
    """What the timelines of a node are stored under; of an aggregate, those of one ``function``."""
    return f"{node}/{function}" if function else node
