"""The physical plan of a metric: nodes, their workers by partition, and what each leaf must be sent.

Node names, worker ids and hashes are a stable interface: a node is named by what it computes, so equal
sub-expressions over sources that are read alike are one worker, and applying a metric twice changes nothing.
A metric keeps the rules of naming that it was applied under (``Metric.naming``).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from typing import Annotated, Literal as Choice

from pydantic import BaseModel, ConfigDict, Field

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import MetricError
from timeline_workers.language import tree as t
from timeline_workers.language.canonical import canonical, slug, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source, unset
from timeline_workers.metric.output_rules import refuse_output
from timeline_workers.process.counted import counted

from .changelog_rules import refuse_changelog
from .logical import LogicalNode, leaf_columns, leaf_predicate_of, logical, node_name
from .reading import Reading

GLOBAL = "all"
"""The partition of a worker that hears every partition: an aggregate."""
KEY_LABEL = "key-"
"""What the partitions of a per-key source begin with."""

# A worker reads its expression within a workflow task, which Temporal ends after two seconds; and the
# driver's result names every leaf and result worker within Temporal's 2 MiB.
MAX_LENGTH = 16_384
MAX_NODES = 1_000
MAX_WORKERS = 3_000


class NodeSpec(BaseModel):
    """One node of the canonical expression graph.

    ``name``: a readable slug and a hash of the canonical sub-expression and its source, such as
    ``tl-has-existed-within-3f2a9c11d0``; ``operator``: the slug, such as ``equal-to``; ``expression``: the
    canonical text, which ``parse`` reads back; ``inputs``: names of child nodes by
    slot (empty for leaves); ``columns``: what a leaf must be sent of each event.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    operator: str
    expression: str
    kind: Choice["state", "boolean", "numeric"]
    inputs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Whether the feeder signals this node."""
        return not self.inputs


class InnerNode(BaseModel):
    """A node that is computed inside the worker of another one; see ``NodeSpec``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    operator: str
    kind: Choice["state", "boolean", "numeric"]


class WorkerSpec(BaseModel):
    """One durable worker: a node in one partition. ``inputs``: per slot, the worker ids to subscribe to.

    An aggregate has one worker, ``partition`` "all", that hears every partition of its children.
    ``retention``, ``key_ttl``: see ``Metric``; microseconds. ``fused``: the other nodes that the worker
    computes, children first: all derived ones below ``node``, in the order of ``derived_of``. Its ``inputs``
    are then the leaves, in the order in which these nodes and ``node`` first read them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker_id: str
    node: NodeSpec
    source: Source
    partition: str
    inputs: tuple[tuple[str, ...], ...] = ()
    retention: int | None = unset()
    key_ttl: int | None = unset()
    fused: Annotated[tuple[InnerNode, ...], Field(exclude_if=lambda nodes: not nodes)] = ()


class Plan(BaseModel):
    """The graph of one metric. ``nodes`` are in topological order, children first; the last is the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Metric
    nodes: tuple[NodeSpec, ...]

    @property
    def result(self) -> NodeSpec:
        """The node that answers for the metric."""
        return self.nodes[-1]


def plan(metric: Metric) -> Plan:
    """Return the graph of ``metric``. The same metric gives the same plan in every process.

    Raises ExpressionError, with the place in the metric's text, when the expression is wrong by itself or
    against the source's columns (where any are declared), and MetricError when the source cannot carry it or
    the graph is too large: an expression of ``MAX_LENGTH`` characters, ``MAX_NODES`` nodes, ``MAX_WORKERS``
    workers over all partitions.
    """
    source = metric.source
    declared = {name: spec.type for name, spec in source.columns.items()} or None
    expression = parse(metric.expression)
    checked = check(expression, declared, text=metric.expression)
    judgement = None if metric.naming == 1 else Reading.of(source, checked).judgement()
    if isinstance(expression, t.Aggregate) and source.partitions == "per-key":
        raise MetricError(
            f"metric {metric.name!r}: an aggregate needs a fixed number of partitions, and its source has "
            "'partitions: per-key'; write a number, such as 'partitions: 4'"
        )
    refuse_changelog(expression, bool(source.changelog), f"metric {metric.name!r}: ")
    refuse_output(metric)
    short = canonical(expression)
    _check_length(metric, len(to_text(short)))
    graph = logical(check(short, declared))
    _check_size(metric, len(graph), _count_workers(metric, graph))
    nodes: list[NodeSpec] = []
    for node in graph:
        spec = NodeSpec(
            name=node_name(node.expression, source, node.uses, metric.retention, metric.key_ttl, judgement),
            operator=slug(node.expression),
            expression=to_text(node.expression),
            kind=node.kind,
            inputs=tuple(nodes[i].name for i in node.inputs),
            columns=node.columns,
        )
        nodes.append(spec)
    return Plan(metric=metric, nodes=tuple(nodes))


def _check_length(metric: Metric, length: int) -> None:
    if length > MAX_LENGTH:
        raise MetricError(
            f"metric {metric.name!r}: the expression has {length:,} characters when written out, and "
            f"{MAX_LENGTH:,} are the most that one may have on workers; split it into several metrics"
        )


def _count_workers(metric: Metric, graph: Sequence[LogicalNode]) -> int:
    """How many workers the metric needs in each partition."""
    derived = sum(bool(node.inputs) and not isinstance(node.expression, t.Aggregate) for node in graph)
    return len(graph) - (max(derived - 1, 0) if metric.fuse else 0)


def _check_size(metric: Metric, nodes: int, workers: int) -> None:
    if nodes > MAX_NODES:
        raise MetricError(
            f"metric {metric.name!r} is a graph of {nodes:,} nodes, and {MAX_NODES:,} are the most that one "
            "may have; split it into several metrics"
        )
    partitions = metric.source.partitions
    if partitions != "per-key" and workers * partitions > MAX_WORKERS:
        raise MetricError(
            f"metric {metric.name!r} needs {workers * partitions:,} workers ({workers} in each of "
            f"{counted(partitions, 'partition')}), and {MAX_WORKERS:,} are the most that one may have; "
            f"give its source at most {counted(MAX_WORKERS // workers, 'partition')}"
        )


def leaf_predicate(node: NodeSpec) -> tuple[t.Expression | None, tuple[str, ...]]:
    """What a leaf must be sent: events that satisfy the predicate, with the columns.

    Without a predicate, events that have the column. ``(None, ())`` for a node that is not a leaf.
    """
    expression = parse(node.expression)
    return leaf_predicate_of(expression), leaf_columns(expression) or ()


def partition_labels(plan: Plan) -> tuple[str, ...]:
    """The partitions of the plan's workers, "p0" to "pN-1"; empty for per-key, which has one for each key."""
    partitions = plan.metric.source.partitions
    return () if partitions == "per-key" else tuple(f"p{i}" for i in range(partitions))


def partition_of(key: Key, source: Source) -> str:
    """The partition that ``key`` belongs to: the same in every process and release."""
    return label_of(key, source.partitions)


def label_of(key: Key, partitions: int | Choice["per-key"]) -> str:
    """The one of ``partitions`` that ``key`` belongs to.

    Per-key partitions are named ``key-``, what is readable of the key, and eight hex digits of its hash.
    """
    data = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else b"\0int " + str(key).encode()
    if partitions == "per-key":
        readable = re.sub(r"[^A-Za-z0-9]+", "-", str(key)).strip("-").lower()[:32]
        digest = hashlib.sha256(data).hexdigest()[:8]
        return f"{KEY_LABEL}{readable}-{digest}" if readable else f"{KEY_LABEL}{digest}"
    return f"p{zlib.crc32(data) % partitions}"


def worker_id(node_name: str, partition: str) -> str:
    """The id of the worker, and of its workflow, for a node in a partition."""
    return f"{node_name}.{partition}"


def workers(plan: Plan, partition: str) -> list[WorkerSpec]:
    """Return the workers of one partition, children first; aggregates are in ``global_workers``.

    Raises MetricError for a partition that the plan does not have.
    """
    labels = partition_labels(plan)
    if labels and partition not in labels:
        raise MetricError(
            f"there is no partition {partition!r}; metric {plan.metric.name!r} has p0 to {labels[-1]}"
        )
    inner, top = inner_nodes(plan), host(plan)
    inside = {node.name for node in inner}
    return [
        _worker(plan, node, partition, inner if node is top else ())
        for node in plan.nodes
        if not is_global(node) and node.name not in inside
    ]


def _worker(plan: Plan, node: NodeSpec, partition: str, inner: Sequence[NodeSpec]) -> WorkerSpec:
    inputs = node.inputs
    if inner:
        computed = {one.name for one in (*inner, node)}
        read = dict.fromkeys(name for one in (*inner, node) for name in one.inputs)
        inputs = tuple(name for name in read if name not in computed)
    return WorkerSpec(
        worker_id=worker_id(worker_name(plan, node), partition),
        node=node,
        source=plan.metric.source,
        partition=partition,
        inputs=tuple((worker_id(name, partition),) for name in inputs),
        retention=plan.metric.retention,
        key_ttl=plan.metric.key_ttl,
        fused=tuple(InnerNode(name=one.name, operator=one.operator, kind=one.kind) for one in inner),
    )


def global_workers(plan: Plan) -> list[WorkerSpec]:
    """Return the workers that hear every partition of their inputs: one for an aggregate, else none."""
    labels = partition_labels(plan)
    top = host(plan)
    hosts = {} if top is None else {top.name: worker_name(plan, top)}
    return [
        WorkerSpec(
            worker_id=worker_id(node.name, GLOBAL),
            node=node,
            source=plan.metric.source,
            partition=GLOBAL,
            inputs=tuple(
                tuple(worker_id(hosts.get(name, name), label) for label in labels) for name in node.inputs
            ),
            retention=plan.metric.retention,
            key_ttl=plan.metric.key_ttl,
        )
        for node in plan.nodes
        if is_global(node)
    ]


def all_workers(plan: Plan, keys: Sequence[str] = ()) -> list[WorkerSpec]:
    """Every worker of a metric over all partitions, children first; for ``partitions: per-key`` those of the
    partitions ``keys``.
    """
    labels = keys if plan.metric.source.partitions == "per-key" else partition_labels(plan)
    return [
        *(spec for partition in labels for spec in workers(plan, partition)),
        *global_workers(plan),
    ]


def host(plan: Plan) -> NodeSpec | None:
    """The node whose workers compute all derived nodes of a metric with ``fuse``; None where each node has
    workers of its own, also because there is but one.

    It is the last derived node that is no aggregate: every other one leads to it, and only to it.
    """
    if not plan.metric.fuse:
        return None
    derived = _derived(plan)
    return derived[-1] if len(derived) > 1 else None


def inner_nodes(plan: Plan) -> tuple[NodeSpec, ...]:
    """The nodes that are computed in the workers of ``host``, but for the host itself; children first."""
    return () if host(plan) is None else tuple(_derived(plan)[:-1])


def _derived(plan: Plan) -> list[NodeSpec]:
    return [node for node in plan.nodes if not node.is_leaf and not is_global(node)]


def worker_name(plan: Plan, node: NodeSpec) -> str:
    """What the ids of the workers that answer for ``node`` begin with; ``worker_id`` adds the partition.

    A host's is not that of the same node without ``fuse``: another metric may have both.
    """
    top = None if node.is_leaf or is_global(node) else host(plan)
    if top is None:
        return node.name
    return f"{top.name}-fused"


def all_worker_names(plan: Plan) -> tuple[str, ...]:
    """``worker_name`` of every node, each once, children first."""
    return tuple(dict.fromkeys(worker_name(plan, node) for node in plan.nodes))


def about(plan: Plan, node: NodeSpec) -> dict[str, str]:
    """What a question to the worker of ``node`` must say besides: that it is about this node, where the
    worker is not named for it."""
    top = host(plan)
    return {} if top is None or node is top or worker_name(plan, node) == node.name else {"node": node.name}


def is_global(node: NodeSpec) -> bool:
    """Whether the node has one worker for all partitions."""
    return node.operator == "aggregate"
