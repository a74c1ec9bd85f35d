"""Models of the REST interface: what it takes and answers, beside the models of the client.

Every field is always there; None is unknown, or does not apply. Times are in the unit that was asked for (by
default that of the metric's source), those of system time likewise.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from timeline_workers.answers.answer_models import Change, Doubt, KindName, Spans, Time, Value, ValueAt
from timeline_workers.client.models import DeadLetter, DeadLetterCount, DriverResult
from timeline_workers.client.overview import MetricOverview
from timeline_workers.language.kinds import ColumnType
from timeline_workers.metric.model import TimeUnit
from timeline_workers.plan.layout import Box, Line
from timeline_workers.plan.preview import ApplyPreview

from .failures import Failure

Key = StrictInt | StrictStr | StrictBool | float | None
"""A key, or the group of an aggregate."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class ServerInfo(_Model):
    """What runs here. ``read_only``: nothing can be applied, deleted or replayed; ``history``: there is a
    history store, so that lanes and the player have something to show; ``temporal_ui``: where Temporal's UI
    is; ``encrypted``: this process has the keys of encrypted payloads.
    """

    version: str
    protocol: Literal["timeline.dvr.v1"] = "timeline.dvr.v1"
    read_only: bool
    history: bool
    temporal_ui: str | None
    encrypted: bool


class WorkerState(_Model):
    """A worker, how it is and how far. ``node``: whose name it has; ``watermark``: ISO 8601; ``inbox``: what
    it has not applied yet; ``archived``: keys in archives; ``history``: events of the present run.
    """

    worker: str
    node: str
    partition: str
    state: str
    cause: str | None
    watermark: str | None
    keys: int | None
    archived: int
    events: int | None
    change_points: int
    bytes: int | None
    inbox: int | None
    runs: int | None
    history: int | None
    build: str | None


class MetricNode(_Model):
    """A node of a metric, in graph order, children first. ``columns``: what a leaf is sent of each event;
    ``functions``: of an aggregate.
    """

    node: str
    operator: str
    expression: str
    kind: KindName
    inputs: list[str]
    columns: list[str]
    functions: list[str]
    is_result: bool


class MetricDetail(_Model):
    """A metric that is applied. ``yaml``: its definition, as a file that can be applied again; ``time_unit``:
    of its times; ``causes``: what is wrong with its workers.
    """

    name: str
    description: str
    yaml: str
    expression: str
    topic: str
    key: str
    time: str
    time_unit: TimeUnit
    partitions: int | Literal["per-key"]
    overview: MetricOverview | None
    nodes: list[MetricNode]
    causes: list[str]


class WorkerList(_Model):
    """The workers of a metric, children first."""

    workers: list[WorkerState]


class KeyRow(_Model):
    """A key, and how many accepted events it had in the window; None: not counted."""

    key: Key
    events: int | None


class KeyList(_Model):
    """Keys of a metric; ``count``: how many there are in all."""

    count: int
    keys: list[KeyRow]


class GraphNode(MetricNode):
    """A node with its place and its workers. ``state``: the worst of theirs; ``watermark``: the least."""

    box: Box
    state: str
    watermark: str | None
    workers: list[WorkerState]


class WorkerEdge(_Model):
    """An edge between two workers, as its sender has it."""

    from_worker: str
    to_worker: str
    state: str
    error: str | None


class GraphEdge(Line):
    """An edge with its course. ``state``: the worst of ``workers``; "" from the source."""

    state: str
    workers: list[WorkerEdge]


class GraphSource(_Model):
    """The topic at the bottom of the picture."""

    topic: str
    key: str
    time: str
    box: Box


class GraphDrawing(_Model):
    """The graph of a metric, laid out. ``frame``: around the nodes that one worker computes; ``critical``:
    the path of the least watermark, from the result down; nothing for a metric that is not applied.
    """

    metric: str
    width: float
    height: float
    source: GraphSource
    nodes: list[GraphNode]
    edges: list[GraphEdge]
    frame: Box | None
    critical: list[str]


class ApplyAnswer(_Model):
    """What applying a metric did, or (``result`` None: a dry run) would do; ``notices``: what took time."""

    preview: ApplyPreview
    result: DriverResult | None
    notices: list[str]


class CheckRequest(_Model):
    """An expression, or a metric file as ``yaml``. ``columns``: declared ones; ``like``: a metric whose
    source it is to be read by; ``draw``: also the graph.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expression: StrictStr | None = None
    yaml: StrictStr | None = None
    columns: dict[StrictStr, ColumnType] | None = None
    like: StrictStr | None = None
    draw: bool = False


class CheckAnswer(_Model):
    """Whether it is right, and what is wrong. ``columns``: those it reads, with what their values must be
    (bool, number or string; None: anything).
    """

    ok: bool
    failures: list[Failure]
    metric: str | None
    kind: KindName | None
    canonical: str | None
    nodes: list[MetricNode]
    columns: dict[str, str | None]
    graph: GraphDrawing | None


class EvaluateRequest(_Model):
    """Events and a question about them, as `timeline eval` takes them. ``events``: objects, or JSON lines as
    one text; ``key``, ``time``: dotted paths into them. Ask one of ``at`` (several values), ``spans`` and
    ``change`` (a range; ``every``: by intervals). ``keys``: only these, as written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expression: StrictStr
    events: list[dict[str, Any]] | StrictStr
    key: StrictStr
    time: StrictStr
    time_unit: TimeUnit = "s"
    columns: dict[StrictStr, ColumnType] | None = None
    at: list[Time] | None = None
    spans: tuple[Time, Time] | None = None
    change: tuple[Time, Time] | None = None
    every: StrictStr | None = None
    keys: list[StrictStr] | None = None
    newest_first: bool = False


class RefusedEvent(_Model):
    """An event that took no part: its place among all, from 0, and why."""

    row: int
    reason: str
    message: str


class EvaluateAnswer(_Model):
    """The answers. ``warnings``: what is no mistake by itself, and may make answers empty or other ones."""

    answers: list[ValueAt | Spans | Change]
    accepted: int
    refused: list[RefusedEvent]
    warnings: list[str]


class Answers(_Model):
    """Answers of workers. ``more``: there are further keys; ``doubts``: why answers may be wrong or old;
    ``notices``: what was come across and makes no answer wrong.
    """

    answers: list[ValueAt | Spans | Change]
    more: bool
    doubts: list[Doubt]
    notices: list[str]


class GapShown(_Model):
    """Of ``of``, a topic or node, nothing may be stored for these times: ``why``. None: without end."""

    of: str
    start: Time | None
    end: Time | None
    why: str


class LaneSpan(_Model):
    """A stretch of a lane; ``end`` None: it lasts. ``slope`` per second. ``merged``: how many spans it stands
    for, where there are more than are drawn; the value is that of the last of them then.
    """

    start: Time
    end: Time | None
    value: Value
    slope: int | float | None = None
    merged: int = 1


class Lane(_Model):
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


class EventShown(_Model):
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


class Lanes(_Model):
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


class EventPage(_Model):
    """Stored events by time and position; ``next``: what to send as ``after`` for those that follow."""

    events: list[EventShown]
    next: str | None


class PieceShown(_Model):
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


class PiecePage(_Model):
    """Stored pieces by start, node and key; ``next``: what to send as ``after`` for those that follow."""

    pieces: list[PieceShown]
    next: str | None


class Density(_Model):
    """How many events of each outcome lie in each of equal parts of a window, ``width`` long (in seconds)."""

    start: Time
    end: Time
    width: float
    outcomes: dict[str, list[int]]


class DefinitionRow(_Model):
    """What is stored by one source definition, and the metrics that refuse events as it does."""

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


class StoredNode(_Model):
    """What is stored of one node."""

    node: str
    keys: int
    watermark: Time | None


class HistoryStatus(_Model):
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


class Letter(_Model):
    """A dead letter. ``payload``: as text, or in base64 where it is none (``is_text`` is false then)."""

    topic: str
    position: str
    key: str
    reason: str
    message: str
    metrics: list[str]
    written: str
    replayed: str | None
    payload: str
    is_text: bool

    @classmethod
    def of(cls, letter: DeadLetter) -> Letter:
        """A letter of the client's."""
        from base64 import b64encode

        try:
            payload, is_text = letter.payload.decode(), True
        except UnicodeDecodeError:
            payload, is_text = b64encode(letter.payload).decode(), False
        fields = letter.model_dump(exclude={"payload", "metrics"})
        return cls(**fields, metrics=list(letter.metrics), payload=payload, is_text=is_text)


class LetterList(_Model):
    """The dead letters that fit, at most ``limit``; ``count``: how many there are in all."""

    letters: list[Letter]
    count: int


class LetterCounts(_Model):
    """Dead letters by topic, reason and metric; one that several metrics refused counts for each."""

    counts: list[DeadLetterCount]


class ReplayRequest(_Model):
    """Which dead letters of ``topic`` to send again: those that fit every field, and at least one must be
    given (``all``: every one). ``payload``: in the place of that of a single letter; ``again``: also those
    that were replayed before; ``dry_run``: only say what would be sent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: StrictStr = Field(min_length=1)
    reasons: list[StrictStr] = []
    metric: StrictStr | None = None
    since: StrictStr | None = None
    positions: list[StrictStr] = []
    all: bool = False
    payload: StrictStr | None = None
    again: bool = False
    dry_run: bool = False


class ReplayAnswer(_Model):
    """What was sent, where each letter is now by its former position (nothing after a dry run), how many were
    left out as replayed before, and what the applied metrics would make of the letters.
    """

    topic: str
    letters: list[Letter]
    sent: dict[str, str]
    left_out: int
    warnings: list[str]


class SourceRow(_Model):
    """A stored source, with its file and the metrics that name it."""

    name: str
    description: str
    version: int
    topic: str
    yaml: str
    metrics: list[str]


class SourceList(_Model):
    """The stored sources by name."""

    sources: list[SourceRow]
