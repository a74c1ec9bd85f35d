"""The kinds of workflow that there are: one row each, which says all that others need to know of a kind.

A row names the workflow type, says what the ids of its workflows look like, how they are found and asked, who
starts and who ends them, and what stands for their health. A new kind of output is a row here, a workflow,
and its activities.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Health = Literal["status", "running", "result"]
"""What says how a workflow is: its own ``status`` (see ``client.worker_health``), that it runs, or what it
returns."""


@dataclass(frozen=True, slots=True)
class WorkflowKind:
    """One kind of workflow.

    ``type``: the name of the workflow type; ``ids``: a pattern that the whole id matches; ``like``: the same
    for people; ``attributes``: search attributes that its workflows carry, where the server takes them;
    ``queries`` and ``signals``: what others may ask and tell it; ``health``: what says how one is;
    ``started_by``, ``ended_by``: who does; ``restarted``: what becomes of one that was ended by hand, for
    people; ``pinned``: its runs stay on the build that they began on;
    ``per_partition``: there is one for each partition of a metric.
    """

    type: str
    ids: str
    like: str
    queries: tuple[str, ...]
    signals: tuple[str, ...]
    health: Health
    started_by: str
    ended_by: str
    restarted: str = ""
    attributes: tuple[str, ...] = ()
    pinned: bool = False
    per_partition: bool = False

    def has(self, workflow_id: str) -> bool:
        """Whether ``workflow_id`` looks like one of this kind."""
        return re.fullmatch(self.ids, workflow_id) is not None


_NODE = ("TimelineMetric", "TimelineNode", "TimelineOperator", "TimelinePartition")
_OUTPUT = ("TimelineMetric", "TimelineOperator", "TimelinePartition")
_HISTORY = ("TimelineOperator", "TimelinePartition")
_PARTITION = r"(?:p[0-9]+|all|journal|key-[0-9a-z-]+)"
_QUESTIONS = ("value_at", "spans", "change", "keys", "status")
_EDGES = ("subscribe", "unsubscribe", "resubscribe", "hold", "attach", "detach", "stop", "continue_as_new")
_CATALOG = "the driver, in the catalog's name, when no registered metric needs it"
_RESTARTED = "the feeder or `timeline apply` restarts it"

LEAF = WorkflowKind(
    "EventProcessor",
    rf"(?!output-|history-|alert-|sink-|reconciler-).+\.{_PARTITION}",
    "<operator>-<hash>.<partition>",
    _QUESTIONS,
    (*_EDGES, "ingest", "complete"),
    "status",
    "the driver; the feeder, where one is missing",
    _CATALOG,
    _RESTARTED,
    _NODE,
    pinned=True,
    per_partition=True,
)
NODE = WorkflowKind(
    "TimelineProcessor",
    rf"(?!output-|history-|alert-|sink-|reconciler-).+\.{_PARTITION}",
    "<operator>-<hash>[-fused].<partition>",
    _QUESTIONS,
    (*_EDGES, "receive"),
    "status",
    "the driver; the feeder, where one is missing",
    _CATALOG,
    _RESTARTED,
    _NODE,
    pinned=True,
    per_partition=True,
)
TOPIC_OUTPUT = WorkflowKind(
    "TopicOutput",
    rf"output-.+-[0-9a-f]{{10}}\.{_PARTITION}",
    "output-<metric>-<hash>.<partition>",
    ("status",),
    ("receive", "resubscribe", "stop", "continue_as_new"),
    "status",
    "the driver; the feeder, where one is missing",
    _CATALOG,
    _RESTARTED,
    _OUTPUT,
    pinned=True,
    per_partition=True,
)
HISTORY_OUTPUT = WorkflowKind(
    "HistoryOutput",
    rf"history-.+-[0-9a-f]{{10}}(?:-[a-z_]+)?\.{_PARTITION}",
    "history-<worker>[-<function>].<partition>",
    ("status",),
    ("receive", "resubscribe", "stop", "continue_as_new"),
    "status",
    "the driver; the feeder, where one is missing",
    "the driver, in the catalog's name, when no registered metric needs it; the feeder, where there is no "
    "history store any more",
    _RESTARTED,
    _HISTORY,
    pinned=True,
    per_partition=True,
)
SINK = WorkflowKind(
    "Sink",
    rf"sink-[A-Za-z][A-Za-z0-9_.-]*\.{_PARTITION}",
    "sink-<target>.<partition>",
    ("status", "taken"),
    ("take", "retry", "pause", "resume", "look_up", "stop", "continue_as_new"),
    "status",
    "the first worker of a rule that has something to tell its target",
    "the catalog, when its target is removed",
    "the next message for its target starts it anew; what waited is lost",
)
RECONCILER = WorkflowKind(
    "Reconciler",
    rf"reconciler-.+\.{_PARTITION}",
    "reconciler-<name>.<partition>",
    ("status", "reconciler", "reconciler_keys", "reconciler_key"),
    ("receive", "order", "resubscribe", "stop", "continue_as_new"),
    "status",
    "whoever registers the reconciler; the feeder, where one is missing",
    "itself, when the reconciler is deleted and all finalizers have succeeded",
    _RESTARTED,
    _OUTPUT,
    pinned=True,
    per_partition=True,
)
ALERT_RULE = WorkflowKind(
    "AlertRule",
    rf"alert-.+-[0-9a-f]{{10}}\.{_PARTITION}",
    "alert-<rule>-<hash>.<partition>",
    ("status", "episodes"),
    ("receive", "resubscribe", "configure", "stop", "continue_as_new"),
    "status",
    "the driver; the feeder, where one is missing",
    _CATALOG,
    _RESTARTED,
    _OUTPUT,
    pinned=True,
    per_partition=True,
)
ARCHIVE = WorkflowKind(
    "KeyArchive",
    rf".+\.{_PARTITION}\.archive-[0-9]+",
    "<worker>.archive-<number>",
    (*_QUESTIONS, "fingerprints", "recall"),
    ("store", "stop", "continue_as_new"),
    "running",
    "the worker whose keys leave",
    "whoever ends that worker",
)
CATALOG = WorkflowKind(
    "MetricCatalog",
    r"timeline-catalog",
    "timeline-catalog",
    ("metrics", "sources", "targets", "reconcilers", "routing"),
    (),
    "running",
    "the first who calls it",
    "nobody",
    "the feeder or `timeline apply` of any metric restarts it with its last metrics",
)
DRIVER = WorkflowKind(
    "TimelineDriver",
    r"timeline-driver-.+",
    "timeline-driver-<metric>",
    ("stage",),
    (),
    "result",
    "timeline apply",
    "itself",
)

KINDS = (LEAF, NODE, TOPIC_OUTPUT, HISTORY_OUTPUT, ALERT_RULE, SINK, RECONCILER, ARCHIVE, CATALOG, DRIVER)
BY_TYPE = {kind.type: kind for kind in KINDS}
PINNED = tuple(kind for kind in KINDS if kind.pinned)


def running(*kinds: WorkflowKind) -> str:
    """The query that lists the workflows of these kinds that run."""
    types = ", ".join(f"'{kind.type}'" for kind in kinds)
    return f"WorkflowType IN ({types}) AND ExecutionStatus = 'Running'"


def kind_of(workflow_id: str) -> tuple[WorkflowKind, ...]:
    """The kinds that a workflow of this id may be of; a leaf and another node look alike."""
    apart = (TOPIC_OUTPUT, HISTORY_OUTPUT, ALERT_RULE, SINK, RECONCILER, ARCHIVE, CATALOG, DRIVER)
    special = [kind for kind in apart if kind.has(workflow_id)]
    return tuple(special) or tuple(kind for kind in (LEAF, NODE) if kind.has(workflow_id))
