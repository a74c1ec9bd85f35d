"""The ``status`` of a timeline worker as a model: what it is, how far it is, and what ails it.

On the wire it is a JSON object with these fields as keys. Workers of earlier releases leave some out, which
have their defaults then; those of later ones add some, which are kept and passed on. Times are microseconds.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from timeline_workers.events.incarnation import Mark


class Said(BaseModel):
    """Base: frozen; what was not said is not passed on either, and what is not known is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_serializer(mode="wrap")
    def _only_what_was_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {name: value for name, value in data.items() if name in self.model_fields_set}


class InputStatus(Said):
    """An input, and whether it has accepted the subscription under ``epoch``; ``last_error``: why not."""

    worker: str
    subscribed: bool
    epoch: str = ""
    last_error: str | None = None


class EdgeStatus(Said):
    """A subscriber: ``state`` is idle, sending, failing, held or gone; ``epoch``: that of the edge."""

    subscriber: str
    state: str
    epoch: str = ""
    last_error: str | None = None


class NotedStatus(Said):
    """What the feeder has noted of a source partition (``leaf_input.Noted``); ``recent_ahead`` None: a worker
    of a release that does not say.
    """

    accepted: int = 0
    ahead: int = 0
    ahead_by: int = 0
    missing: int = 0
    gaps: int = 0
    gap: str = ""
    reason: str = ""
    recent_accepted: int = 0
    recent_refused: int = 0
    recent_ahead: int | None = None


class PartitionStatus(Said):
    """How far a source partition was applied (``leaf_input.Progress``)."""

    partition: int
    major: int
    minor: int
    watermark: int | None = None
    late: int = 0
    refused: int = 0
    published: int | None = None
    noted: NotedStatus | None = None

    @property
    def mark(self) -> Mark:
        """The place up to which everything was applied."""
        return Mark(self.major, self.minor, self.published)


class InnerNodeStatus(Said):
    """One of several nodes of a worker."""

    operator: str = ""
    expression: str = ""
    kind: str = ""
    change_points: int = 0
    watermark: int | None = None
    answerable_from: int | None = None


class StateStatus(Said):
    """What a worker's node holds and how far it is (``NodeWorker.status``, or an archive's or output's)."""

    kind: str = ""
    keys: int | None = None
    change_points: int = 0
    input_change_points: int = 0
    events: int | None = None
    bytes: int | None = None
    watermark: int | None = None
    retention: int | None = None
    answerable_from: int | None = None
    limited: bool = False
    late: int = 0
    refused: int = 0
    published: int | None = None
    progress: tuple[PartitionStatus, ...] = ()
    repeated: int = 0
    too_late: int = 0
    unseen_columns: tuple[str, ...] = ()
    cut_off: dict[str, str] = {}
    rebuilding: tuple[str, ...] = ()
    nodes: dict[str, InnerNodeStatus] = {}


class WorkerStatus(Said):
    """A worker. ``ready``: every input has accepted its subscription; ``last_ingest``: a leaf was sent no
    batch after that; ``unmended`` None: a worker of a release that does not say; ``state`` None: it fetches
    it; ``silent``: why the worker of a rule tells nothing for now.
    """

    worker_id: str = ""
    node: str = ""
    operator: str = ""
    expression: str = ""
    partition: str = ""
    topic: str = ""
    metrics: tuple[str, ...] = ()
    ready: bool = False
    inputs: tuple[InputStatus, ...] = ()
    edges: tuple[EdgeStatus, ...] = ()
    inbox: int | None = None
    last_ingest: int | None = None
    incomplete: bool = False
    runs: int | None = None
    applied_in_run: int = 0
    history_events: int | None = None
    history_bytes: int | None = None
    refused: int = 0
    last_refusal: str | None = None
    unmended: tuple[str, ...] | None = None
    lost_state: str | None = None
    paused: str | None = None
    holds: bool = False
    archives: int = 0
    archived_keys: int = 0
    archives_lost: tuple[str, ...] = ()
    archive_error: str | None = None
    silent: str | None = None
    state: StateStatus | None = None

    @property
    def progress(self) -> tuple[PartitionStatus, ...]:
        """How far it is, per source partition; nothing while it does not say."""
        return () if self.state is None else self.state.progress


class OutputStatus(WorkerStatus):
    """The worker of an output. ``function``: that of an aggregate which it hears; ``holds``: its inputs hold
    what they have to say; ``published``: revisions given out so far; ``telling``: how many of them are being
    told now.
    """

    function: str = ""
    holds: bool = False
    published: int = 0
    telling: int = 0


class AlertStatus(OutputStatus):
    """The worker of a rule. ``firing``: episodes that go on; ``next_change``: the next instant at which there
    is something to tell though nothing is heard; ``clock``: the instant up to which the source is known to
    have been read.
    """

    firing: int = 0
    next_change: int | None = None
    clock: int | None = None
