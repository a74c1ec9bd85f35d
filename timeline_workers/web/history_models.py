"""Models of the REST interface for the history and for lanes; as those of ``rest_models``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from timeline_workers.answers.answer_models import Doubt, KindName, Time, Value
from timeline_workers.metric.model import TimeUnit

from .rest_models import Key, Shown


class GapShown(Shown):
    """Of ``of``, a topic or node, nothing may be stored for these times: ``why``. None: without end.
    ``seen``: when the store was told.
    """

    of: str
    start: Time | None
    end: Time | None
    why: str
    seen: Time


class LaneSpan(Shown):
    """A stretch of a lane; ``end`` None: it lasts. ``slope`` per second. ``merged``: how many spans it stands
    for, where there are more than are drawn; the value is that of the last of them then.
    """

    start: Time
    end: Time | None
    value: Value
    slope: int | float | None = None
    merged: int = 1


class Lane(Shown):
    """The spans of one node for the key. ``function``: of an aggregate; ``count``: of spans before merging;
    ``problem``: why there is none.
    """

    node: str
    operator: str
    expression: str
    kind: KindName
    inputs: list[str]
    function: str
    is_result: bool
    count: int
    spans: list[LaneSpan]
    problem: str | None = None


class EventShown(Shown):
    """A stored event. ``payload``: as JSON, or its text where it is none; ``seen``: when the store was told;
    ``position``: partition, major, minor.
    """

    time: Time | None
    key: Key
    outcome: Literal["accepted", "late", "duplicate", "refused"]
    reason: str
    message: str
    payload: Any
    published: Time | None
    position: tuple[int, int, int]
    seen: Time


class Lanes(Shown):
    """Every node of a metric for one key over ``[start, end)``, in graph order, children first.

    ``origin``: whether computed from stored events, or asked of the workers; ``watermark``: below it nothing
    changes any more; ``kept_from``: nothing before it can be asked. ``events``: the first of the
    ``events_count`` ones in the window.
    """

    metric: str
    key: Key
    unit: TimeUnit
    start: Time
    end: Time
    origin: Literal["history", "workers"]
    as_of: Time | None
    watermark: Time | None
    kept_from: Time | None
    events: list[EventShown]
    events_count: int
    lanes: list[Lane]
    gaps: list[GapShown]
    doubts: list[Doubt]


class EventPage(Shown):
    """Stored events by time and position; ``next``: what to send as ``after`` for those that follow."""

    events: list[EventShown]
    next: str | None


class PieceShown(Shown):
    """A piece of a timeline as the store has it; ``end`` None: it lasts. It was known from ``seen_from`` on,
    and no longer since ``seen_until`` (None: it still is).
    """

    node: str
    key: Key
    start: Time
    end: Time | None
    value: Value
    slope: int | float | None
    seen_from: Time
    seen_until: Time | None


class PiecePage(Shown):
    """Stored pieces by start, node and key; ``next``: what to send as ``after`` for those that follow."""

    pieces: list[PieceShown]
    next: str | None


class Density(Shown):
    """How many events of each outcome lie in each of equal parts of a window, ``width`` long (in seconds)."""

    start: Time
    end: Time
    width: float
    outcomes: dict[str, list[int]]


class DefinitionRow(Shown):
    """What is stored by one source definition, and the metrics that refuse events as it does. ``kept_from``:
    what lies below it was forgotten; ``followed_to``: up to when published messages are stored, of the
    partition that is furthest behind, None where that is not known.
    """

    definition: str
    topic: str
    metrics: list[str]
    accepted: int
    late: int
    duplicate: int
    refused: int
    first: Time | None
    last: Time | None
    watermark: Time | None
    kept_from: Time | None
    followed_to: Time | None


class StoredNode(Shown):
    """What is stored of one node. ``kept_from``: what lies below it was forgotten."""

    node: str
    keys: int
    watermark: Time | None
    kept_from: Time | None


class HistoryStatus(Shown):
    """What the history store holds. ``seen``: its last system time; ``rows``: change points; ``bytes``: on
    disk; ``events``: by topic.
    """

    store: str
    seen: Time
    kept_from: Time | None
    rows: int
    bytes: int
    events: dict[str, int]
    definitions: list[DefinitionRow]
    nodes: list[StoredNode]
    gaps: list[GapShown]


class ForgetRequest(BaseModel):
    """What to forget: below event time ``before``, or ``older_than`` (such as 30d) below the watermark of
    each definition and node. ``metrics``: only what is stored of these, also where others share it; by
    default everything. ``unit``: of ``before``, by default ISO 8601 or seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: StrictStr | StrictInt | StrictFloat | None = None
    older_than: StrictStr | None = None
    metrics: list[StrictStr] | None = Field(default=None, min_length=1)
    unit: TimeUnit | None = None


class ForgetAnswer(Shown):
    """How much was deleted; ``change_points``: of timelines."""

    events: int
    verdicts: int
    change_points: int


class RebuildRequest(BaseModel):
    """What the feeder is to read again: the events of these metrics, and of others of the same source
    definitions; by default all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: list[StrictStr] | None = Field(default=None, min_length=1)


class RebuildAnswer(Shown):
    """Of how many partitions the feeder reads again, when it starts next, what the broker retains."""

    partitions: int


class ImportAnswer(Shown):
    """What was in the archive: verdicts on ``events``, and ``pieces`` of timelines."""

    events: int
    pieces: int
