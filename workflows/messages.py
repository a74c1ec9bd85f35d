"""Messages of the workflows: their inputs and results, as plain JSON.

Batches of events and messages between workers are raw bytes and not modelled here (see
``timeline_workers.wire``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from timeline_workers.metric.model import Metric, StoredSource
from timeline_workers.plan.alert_workers import AlertSpec
from timeline_workers.plan.history_workers import HistorySpec
from timeline_workers.plan.output_workers import OutputSpec
from timeline_workers.plan.physical import WorkerSpec
from timeline_workers.reconcilers.definition import Definition
from timeline_workers.reconcilers.reconciler_workers import ReconcilerSpec
from timeline_workers.targets.target import AnyTarget

CATALOG_ID = "timeline-catalog"
DRIVER_ID = "timeline-driver-{metric}"


class Message(BaseModel):
    """Base: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SubscribeInput(Message):
    """Open (again) the edge to worker ``subscriber``.

    ``epoch`` names this opening: the same epoch again changes nothing, a new one starts over with a snapshot.
    ``output``: the function of an aggregate that it is about; "": there is one output only.
    """

    subscriber: str
    epoch: str
    output: Annotated[str, Field(exclude_if=lambda output: not output)] = ""


class HoldInput(Message):
    """Send nothing to ``subscriber`` for now but remember what there is to say (``held``), or go on."""

    subscriber: str
    held: bool


class CarriedState(Message):
    """Where the state of the previous run is when it is too large for this run's input.

    It is the input of ``chunks`` activities in the history of run ``run_id`` of the same workflow; ``size``
    is the number of bytes.
    """

    run_id: str
    chunks: int
    size: int


class Departed(Message):
    """Where the keys are that have left a worker: in the archives numbered below ``archives``.

    ``keys``: how many are away; ``departures``: how often some have left; ``last_keys`` and ``last_bytes``:
    what the last archive was sent so far; ``lost``: archives that were ended by others, and their keys with
    them.
    """

    archives: int = 0
    keys: int = 0
    departures: int = 0
    last_keys: int = 0
    last_bytes: int = 0
    lost: tuple[str, ...] = ()


class Paused(Message):
    """Why a worker takes nothing more; ``size``: bytes of its state, over ``limit``."""

    size: int
    limit: int
    reason: str


class ProcessorInput(Message):
    """Input of a timeline worker.

    ``epochs`` counts, per input worker, how often this worker has opened its edge; ``subscribed`` lists the
    inputs that have accepted the latest opening. ``edge_epochs`` and ``gone`` are of the subscribers: the
    epoch of each, and why one is set aside. ``continue_as_new_after`` makes the worker continue as new
    after so many payloads in one run, where Temporal would only suggest it after thousands: for tests and
    drills. ``state_bytes`` is how large the state may be (None in runs that release 0.1.0 began: they end as
    they would have there), ``held`` the subscribers that take nothing for now, and ``holds``: this worker has
    told its inputs so. ``incomplete``: of a leaf, that the feeder has not yet said that it has had the past
    of the topic. ``unmended``: for what was refused and is not made up for yet, by who sent it ("" for the
    feeder), the opening of that edge whose snapshot will; ``lost_state``: why the worker had to be rebuilt
    from its inputs.
    """

    spec: WorkerSpec
    metrics: tuple[str, ...] = ()
    searchable: bool = False
    message_bytes: int = 256 * 1024
    epochs: dict[str, int] = {}
    subscribed: tuple[str, ...] = ()
    edge_epochs: dict[str, str] = {}
    gone: dict[str, str] = {}
    runs: int = 0
    refused: int = 0
    last_refusal: str = ""
    carried: CarriedState | None = None
    continue_as_new_after: int | None = None
    state_bytes: int | None = None
    departed: Departed = Departed()
    paused: Paused | None = None
    held: tuple[str, ...] = ()
    holds: bool = False
    incomplete: Annotated[bool, Field(exclude_if=lambda incomplete: not incomplete)] = False
    unmended: Annotated[dict[str, int], Field(exclude_if=lambda unmended: not unmended)] = {}
    lost_state: Annotated[str, Field(exclude_if=lambda lost: not lost)] = ""


class ArchiveInput(Message):
    """Input of an archive: ``spec`` is that of the worker whose keys it holds."""

    spec: WorkerSpec
    runs: int = 0
    refused: int = 0
    last_refusal: str = ""
    carried: CarriedState | None = None


class SubscriberInput(Message):
    """Input of a subscriber that is no node; see ``ProcessorInput`` for what both have.

    ``began``: when its first run began, microseconds, which its revisions count from; ``published``: how many
    it has given out so far; ``told``: the greatest watermark that was told, microseconds.
    """

    epochs: dict[str, int] = {}
    subscribed: tuple[str, ...] = ()
    runs: int = 0
    refused: int = 0
    last_refusal: str = ""
    unmended: dict[str, int] = {}
    carried: CarriedState | None = None
    continue_as_new_after: int | None = None
    holds: bool = False
    began: int = 0
    published: int = 0
    told: int | None = None


class OutputInput(SubscriberInput):
    """Input of an output's worker."""

    spec: OutputSpec


class HistoryInput(SubscriberInput):
    """Input of a worker of the history."""

    spec: HistorySpec


class AlertInput(SubscriberInput):
    """Input of a worker of a rule. ``caught_up``: what was in the topic when it began has been heard;
    ``clock``: the instant up to which the source is known to have been read, ``topic_partitions``: how many
    partitions its topic has; 0: not known.
    """

    spec: AlertSpec
    caught_up: bool = False
    clock: int | None = None
    topic_partitions: int = 0


class SourceRead(Message):
    """``read``: the instant up to which a source is known to have been read, microseconds; ``waits``:
    messages that were published since are there; ``partitions``: how many its topic has.
    """

    read: int
    waits: bool
    partitions: int


class SinkInput(Message):
    """Input of the sink of one target, for the rules' workers of one partition: what a rule's worker knows of
    it, which starts it with its first batch (``timeline_workers.alerts.sink_messages``).
    """

    target: str
    partition: str


class SinkState(SinkInput):
    """Input of a further run of a sink. ``definition``: the target as it was last looked up; ``began``: when
    its first run began, microseconds, from which the numbers of what it sends count; ``numbered``: how many
    it has given out; ``sent``, ``given_up``: how many messages have been, ``last_sent``: when, microseconds;
    ``lost``: how many could not be kept as dead letters either.
    """

    runs: int = 0
    refused: int = 0
    last_refusal: str = ""
    carried: CarriedState | None = None
    continue_as_new_after: int | None = None
    definition: AnyTarget | None = None
    paused: bool = False
    began: int = 0
    numbered: int = 0
    sent: int = 0
    given_up: int = 0
    lost: int = 0
    last_sent: int | None = None


class WaitingMessage(Message):
    """A message that a sink has still to send, without its texts. ``tried``: whether it has been, in vain."""

    rule: str
    key: str | int
    kind: str
    episode: str
    seq: int
    tried: bool


class SinkStatus(Message):
    """How a sink is. ``waiting``: messages that wait, those on their way, ``sending``, included; ``letters``:
    messages that were given up and wait to be stored as dead letters; ``failures``: how often the target has
    failed since it last took one, and ``last_failure`` why; ``paused_until``: when it is tried next,
    microseconds; ``paused``: it was told to wait; ``missing``: there is no such target; ``origins``: the
    number of the last message of each rule's worker; ``next``: the first messages that wait.
    """

    worker_id: str
    target: str
    partition: str
    what: str | None
    missing: bool
    paused: bool
    waiting: int
    sending: int
    sent: int
    given_up: int
    letters: int
    lost: int
    failures: int
    last_failure: str
    paused_until: int | None
    last_sent: int | None
    runs: int
    refused: int
    last_refusal: str
    history_events: int
    history_bytes: int
    origins: dict[str, int]
    next: tuple[WaitingMessage, ...]


class ReconcilerInput(SubscriberInput):
    """Input of a reconciler's worker. ``ending``: why it ends once all keys have left; "": it goes on."""

    spec: ReconcilerSpec
    ending: str = ""


class KeysQuestion(Message):
    """Ask the worker of a reconciler for keys: ``key``, or ``limit`` of them from place ``after`` on;
    ``only`` ``ill`` ones, or "" all."""

    key: str | int | None = None
    after: int = 0
    limit: int = 100
    only: str = ""


class RecallInput(Message):
    """Ask the archives of worker ``worker_id``, those numbered below ``archives``, for keys.

    ``life`` and ``departures`` say what the worker has stored there (see ``Departed``).
    """

    worker_id: str
    life: str
    archives: int
    departures: int
    names: tuple[str | int, ...]


class ProcessorResult(Message):
    """What a worker leaves when it is stopped."""

    worker_id: str
    runs: int
    reason: str


class RegisterResult(Message):
    """``outcome``: ``unchanged`` for the same definition again; ``stopped``: workers that nobody needs any
    more; ``absent``: workers of the metric that did not run before, whoever starts them then.
    """

    name: str
    outcome: Literal["new", "unchanged", "replaced"]
    generation: int
    stopped: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


class RemoveResult(Message):
    """``stopped``: workers that ended; ``kept``: workers that other metrics still need."""

    name: str
    stopped: tuple[str, ...]
    kept: tuple[str, ...]


class ConfirmInput(Message):
    """Ask whether generation ``generation`` of the metric's name, defined so, is still registered."""

    metric: Metric
    generation: int


class ConfirmResult(Message):
    """``current``: it is; otherwise the workers that no metric needs were ``stopped``."""

    current: bool
    stopped: tuple[str, ...] = ()


class CatalogEntry(Message):
    """One registered metric; ``generation`` grows with every change in the catalog."""

    metric: Metric
    generation: int


class CatalogState(Message):
    """Everything a catalog knows; ``version`` grows with every change of ``entries``. ``sources``: the stored
    ones; ``targets``: those of alerts; ``reconcilers``: the registered ones.
    """

    version: int = 0
    entries: tuple[CatalogEntry, ...] = ()
    sources: Annotated[tuple[StoredSource, ...], Field(exclude_if=lambda found: not found)] = ()
    targets: Annotated[tuple[AnyTarget, ...], Field(exclude_if=lambda found: not found)] = ()
    reconcilers: Annotated[tuple[Definition, ...], Field(exclude_if=lambda found: not found)] = ()


class TargetResult(Message):
    """What became of a target that was applied."""

    name: str
    outcome: Literal["new", "unchanged", "replaced"]


class SourceResult(Message):
    """What became of a source that was applied. ``keeping``: metrics that keep another version of it."""

    name: str
    outcome: Literal["new", "unchanged", "replaced"]
    version: int
    keeping: tuple[str, ...] = ()


class DriverInput(Message):
    """Input of the driver. ``continue_as_new_after`` is passed on to the workers it starts."""

    metric: Metric
    message_bytes: int = 256 * 1024
    continue_as_new_after: int | None = None


class WorkerName(Message):
    """A worker as the driver lists it."""

    worker_id: str
    node: str
    operator: str
    partition: str
    expression: str


class Graph(Message):
    """The workers of a metric's graph that others must know; see ``DriverResult``."""

    event_processor_workers: tuple[WorkerName, ...]
    result_workers: tuple[WorkerName, ...]
    text: str


class DriverResult(Message):
    """The graph that now runs.

    ``event_processor_workers`` are fed by the feeder; ``result_workers`` answer for the metric, one per
    partition (one in all for an aggregate). Both are empty for ``partitions: per-key``, where the feeder
    starts a tree at the first event of a key. ``stopped`` are workers of an earlier definition of the same
    name. ``started`` counts the workers that did not run before, also those that a feeder has started since.
    ``beginning`` are event processors that are new beside others of the metric that ran already: until the
    feeder has read the past of the topic for them the metric knows only what those others do. ``departed``
    are workers that it shares and that keys have left: it learns of such a key when that comes back.
    """

    metric: str
    outcome: Literal["new", "unchanged", "replaced"]
    event_processor_workers: tuple[WorkerName, ...]
    result_workers: tuple[WorkerName, ...]
    started: int
    existing: int
    stopped: tuple[str, ...] = ()
    beginning: tuple[str, ...] = ()
    departed: tuple[str, ...] = ()
    text: str


class EnsureResult(Message):
    """Worker ids by whether they had to be started; ``departed``: workers that ran already, are listened to
    by some that were started, and that keys have left.
    """

    started: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    departed: tuple[str, ...] = ()


class EnsureInput(Message):
    """Have every worker of ``metric`` running; see ``workflows.client.start.ensure_workers``."""

    metric: Metric
    message_bytes: int = 256 * 1024
    continue_as_new_after: int | None = None


class ReleaseInput(Message):
    """The definition of a metric that is not registered any more: its workers may be needed no longer."""

    definition: Metric


class ReleaseResult(Message):
    """``stopped``: workers that ended; ``kept``: workers that some registered metric needs."""

    stopped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


Question = Any  # a JSON object; what is none is refused in words, not by the decoder
