"""Drawing of a metric's graph: where its nodes and edges are, and how each of them is. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, cast

from timeline_workers.client.models import MetricDescription
from timeline_workers.client.overview import iso, worker_overview
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.plan.drawing import worker_names
from timeline_workers.plan.layout import SOURCE, layout
from timeline_workers.plan.physical import Plan

from .rest_models import GraphDrawing, GraphEdge, GraphNode, GraphSource, WorkerEdge, WorkerState

# The worst first; a state that is not named stands before "ok".
_WORST: Final = ("down", "failing", "paused", "busy", "fetching", "subscribing")
_WORST_EDGE: Final = ("gone", "failing", "held", "sending")


def worker_states(described: MetricDescription) -> list[WorkerState]:
    """How each worker of a metric is."""
    found = []
    for health in described.workers:
        overview = worker_overview(health).model_dump()
        found.append(
            WorkerState(
                node=health.worker_id.rpartition(".")[0],
                partition=health.worker_id.rpartition(".")[2],
                cause=health.cause,
                build=overview.pop("build", None) or None,
                **{name: value for name, value in overview.items() if name != "nodes"},
            )
        )
    return found


def draw(plan: Plan, described: MetricDescription | None = None) -> GraphDrawing:
    """The graph of ``plan``; ``described``: where it is applied, how its workers are."""
    picture = layout(plan)
    boxes = {box.name: box for box in picture.boxes}
    states = {one.worker: one for one in ([] if described is None else worker_states(described))}
    edges = _edges(described)
    nodes = []
    for node in plan.nodes:
        names = worker_names(plan, node)
        workers = [states[name] for name in names if name in states]
        tree = parse(node.expression)
        marks = [_watermark(described, name, node.name) for name in names if name in states]
        nodes.append(
            GraphNode(
                node=node.name,
                operator=node.operator,
                expression=node.expression,
                kind=node.kind,
                inputs=list(node.inputs),
                columns=list(node.columns),
                functions=list(tree.functions) if isinstance(tree, Aggregate) else [],
                is_result=node is plan.result,
                box=boxes[node.name],
                state=_worst([one.state for one in workers], _WORST, "ok" if workers else ""),
                watermark=None if not marks or None in marks else iso(min(cast(list[int], marks))),
                workers=workers,
            )
        )
    workers_of = {node.name: set(worker_names(plan, node)) for node in plan.nodes}
    lines = []
    for line in picture.lines:
        between = [
            edge
            for edge in edges
            if edge.from_worker in workers_of.get(line.from_node, ())
            and edge.to_worker in workers_of.get(line.to_node, ())
        ]
        said = _worst([edge.state for edge in between], _WORST_EDGE, "idle" if between else "")
        lines.append(GraphEdge(**line.model_dump(), state=said, workers=between))
    source = plan.metric.source
    return GraphDrawing(
        metric=plan.metric.name,
        width=picture.width,
        height=picture.height,
        source=GraphSource(topic=source.topic, key=source.key, time=source.time, box=boxes[SOURCE]),
        nodes=nodes,
        edges=lines,
        frame=picture.frame,
        critical=_critical(nodes),
    )


def _edges(described: MetricDescription | None) -> list[WorkerEdge]:
    return [
        WorkerEdge(
            from_worker=health.worker_id, to_worker=edge.subscriber, state=edge.state, error=edge.last_error
        )
        for health in ([] if described is None else described.workers)
        if health.status is not None
        for edge in health.status.edges
    ]


def _watermark(described: MetricDescription | None, worker: str, node: str) -> int | None:
    """The watermark of a node at a worker, which may compute several."""
    for health in () if described is None else described.workers:
        if health.worker_id == worker and health.status is not None and health.status.state is not None:
            state = health.status.state
            inner = state.nodes.get(node)
            return state.watermark if inner is None else inner.watermark
    return None


def _worst(found: Iterable[str], order: Sequence[str], well: str) -> str:
    said = list(found)
    return next((state for state in order if state in said), well)


def _critical(nodes: Sequence[GraphNode]) -> list[str]:
    """From the result down, always to the input whose watermark is least; one without any is the least."""
    if all(node.watermark is None for node in nodes):
        return []
    by_name = {node.node: node for node in nodes}
    path = [nodes[-1].node]
    while inputs := by_name[path[-1]].inputs:
        path.append(min(inputs, key=lambda name: by_name[name].watermark or ""))
    return path
