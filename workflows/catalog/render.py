"""The driver's result as one line of text, in the spirit of the paper's prototype.

Example::

    ok({event-processor-workers: [leaf-timeline(tl-latest-event-to-state({worker-id: tl-latest…-p0}))],
        result-worker: derived-timeline(tl-duration-where({worker-id: tl-duration-where…-p0}))})
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timeline_workers.plan.physical import NodeSpec, Plan, WorkerSpec
from workflows.client.start import shortened
from workflows.messages import Graph, WorkerName

_MOST = 100  # of each list, for a line that somebody reads
# The driver's result names every leaf and every result worker, and must stay under Temporal's 2 MiB: of many
# workers, long expressions are cut. `timeline describe` has them whole.
_EXPRESSIONS_LENGTH = 500_000


def render_graph(plan: Plan, specs: Sequence[WorkerSpec]) -> Graph:
    """The leaves and the results among all workers of ``plan``, also as text."""
    length = _EXPRESSIONS_LENGTH // (2 * len(specs) or 1)

    def name(spec: WorkerSpec) -> WorkerName:
        return WorkerName(
            worker_id=spec.worker_id,
            node=spec.node.name,
            operator=spec.node.operator,
            partition=spec.partition,
            expression=shortened(spec.node.expression, length),
        )

    leaves = tuple(name(spec) for spec in specs if spec.node.is_leaf)
    results = tuple(name(spec) for spec in specs if spec.node.name == plan.result.name)
    return Graph(
        event_processor_workers=leaves,
        result_workers=results,
        text=render_result(plan, leaves, results),
    )


def render_result(plan: Plan, leaves: Iterable[WorkerName], results: Iterable[WorkerName]) -> str:
    """Render the workers of ``plan``. A per-key metric has none yet: its nodes are named, with
    ``<per-key>``.
    """
    result = plan.result
    if plan.metric.source.partitions == "per-key":
        leaf_texts = [_timeline(node, "<per-key>") for node in plan.nodes if node.is_leaf]
        result_texts = [_timeline(result, "<per-key>")]
    else:
        nodes = {node.name: node for node in plan.nodes}
        leaf_texts = [_timeline(nodes[worker.node], worker.worker_id) for worker in leaves]
        result_texts = [_timeline(result, worker.worker_id) for worker in results]
    last = (
        f"result-worker: {result_texts[0]}"
        if len(result_texts) == 1
        else f"result-workers: [{_listed(result_texts)}]"
    )
    return f"ok({{event-processor-workers: [{_listed(leaf_texts)}], {last}}})"


def _listed(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - _MOST} more"] if len(texts) > _MOST else []
    return ", ".join([*texts[:_MOST], *more])


def _timeline(node: NodeSpec, worker_id: str) -> str:
    side = "leaf-timeline" if node.is_leaf else "derived-timeline"
    return f"{side}({node.operator}({{worker-id: {worker_id}}}))"
