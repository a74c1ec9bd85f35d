"""Models of the REST interface: what it takes and answers, beside those of the client and of the history.

Every field is always there; None is unknown, or does not apply. Times are in the unit that was asked for (by
default that of the metric's source), those of system time likewise.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from timeline_workers.answers.answer_models import Change, Doubt, KindName, Spans, Time, ValueAt
from timeline_workers.client.models import DeadLetter, DeadLetterCount, DriverResult
from timeline_workers.client.overview import MetricOverview
from timeline_workers.language.kinds import ColumnType
from timeline_workers.metric.model import TimeUnit
from timeline_workers.plan.layout import Box, Line
from timeline_workers.plan.preview import ApplyPreview

from .failures import Failure

Key = StrictInt | StrictStr | StrictBool | float | None
"""A key, or the group of an aggregate."""


class Shown(BaseModel):
    """Base of all of them: frozen."""

    model_config = ConfigDict(frozen=True)


class ServerInfo(Shown):
    """What runs here. ``read_only``: nothing can be applied, deleted, replayed or imported; ``history``:
    there is a history store, so that lanes and the player have something to show; ``temporal_ui``: where
    Temporal's UI is; ``encrypted``: this process has the keys of encrypted payloads.
    """

    version: str
    protocol: Literal["timeline.dvr.v1"] = "timeline.dvr.v1"
    read_only: bool
    history: bool
    temporal_ui: str | None
    encrypted: bool


class WorkerState(Shown):
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


class MetricNode(Shown):
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


class MetricDetail(Shown):
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


class WorkerList(Shown):
    """The workers of a metric, children first."""

    workers: list[WorkerState]


class KeyRow(Shown):
    """A key, and how many accepted events it had in the window; None: not counted."""

    key: Key
    events: int | None


class KeyList(Shown):
    """Keys of a metric; ``count``: how many there are in all."""

    count: int
    keys: list[KeyRow]


class GraphNode(MetricNode):
    """A node with its place and its workers. ``state``: the worst of theirs; ``watermark``: the least."""

    box: Box
    state: str
    watermark: str | None
    workers: list[WorkerState]


class WorkerEdge(Shown):
    """An edge between two workers, as its sender has it."""

    from_worker: str
    to_worker: str
    state: str
    error: str | None


class GraphEdge(Line):
    """An edge with its course. ``state``: the worst of ``workers``; "" from the source."""

    state: str
    workers: list[WorkerEdge]


class GraphSource(Shown):
    """The topic at the bottom of the picture."""

    topic: str
    key: str
    time: str
    box: Box


class GraphDrawing(Shown):
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


class ApplyAnswer(Shown):
    """What applying a metric did, or (``result`` None: a dry run) would do; ``notices``: what took time."""

    preview: ApplyPreview
    result: DriverResult | None
    notices: list[str]


class CheckRequest(Shown):
    """An expression, or a metric file as ``yaml``. ``columns``: declared ones; ``like``: a metric whose
    source it is to be read by; ``draw``: also the graph.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expression: StrictStr | None = None
    yaml: StrictStr | None = None
    columns: dict[StrictStr, ColumnType] | None = None
    like: StrictStr | None = None
    draw: bool = False


class CheckAnswer(Shown):
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


class EvaluateRequest(Shown):
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


class RefusedEvent(Shown):
    """An event that took no part: its place among all, from 0, and why."""

    row: int
    reason: str
    message: str


class EvaluateAnswer(Shown):
    """The answers. ``warnings``: what is no mistake by itself, and may make answers empty or other ones."""

    answers: list[ValueAt | Spans | Change]
    accepted: int
    refused: list[RefusedEvent]
    warnings: list[str]


class Answers(Shown):
    """Answers of workers. ``more``: there are further keys; ``doubts``: why answers may be wrong or old;
    ``notices``: what was come across and makes no answer wrong.
    """

    answers: list[ValueAt | Spans | Change]
    more: bool
    doubts: list[Doubt]
    notices: list[str]


class Letter(Shown):
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


class LetterList(Shown):
    """The dead letters that fit, at most ``limit``; ``count``: how many there are in all."""

    letters: list[Letter]
    count: int


class LetterCounts(Shown):
    """Dead letters by topic, reason and metric; one that several metrics refused counts for each."""

    counts: list[DeadLetterCount]


class ReplayRequest(Shown):
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


class ReplayAnswer(Shown):
    """What was sent, where each letter is now by its former position (nothing after a dry run), how many were
    left out as replayed before, and what the applied metrics would make of the letters.
    """

    topic: str
    letters: list[Letter]
    sent: dict[str, str]
    left_out: int
    warnings: list[str]


class SourceRow(Shown):
    """A stored source, with its file and the metrics that name it."""

    name: str
    description: str
    version: int
    topic: str
    yaml: str
    metrics: list[str]


class SourceList(Shown):
    """The stored sources by name."""

    sources: list[SourceRow]
