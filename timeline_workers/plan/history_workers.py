"""The workers of a metric's history: one for each worker whose revisions are stored, which it hears; of an
aggregate, one for each function.

Nodes are shared by metrics, and so are these workers: they are named for what they hear, and whichever
metrics want the history of a node, it is told once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal as Choice

from pydantic import BaseModel, ConfigDict, Field

from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate

from .physical import GLOBAL, NodeSpec, Plan, host, is_global, partition_labels, worker_id, worker_name

PREFIX = "history-"


class HistorySpec(BaseModel):
    """One worker of the history: it stores what the worker of a node in ``partition``, one of ``partitions``,
    says, under the name ``node``. ``function``: of an aggregate, which one it tells; "" for a node per key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker_id: str
    node: str
    partition: str
    partitions: int
    kind: Choice["state", "boolean", "numeric"]
    expression: str
    inputs: tuple[tuple[str, ...], ...]
    function: Annotated[str, Field(exclude_if=lambda function: not function)] = ""


def stored_name(plan: Plan, node: NodeSpec, function: str = "") -> str:
    """What the timelines of ``node`` are stored under: its name, or that of the fused workers that tell of
    it; of an aggregate, with the ``function``.
    """
    name = worker_name(plan, node) if node == host(plan) else node.name
    return f"{name}/{function}" if function else name


def stored_nodes(plan: Plan) -> list[NodeSpec]:
    """The nodes whose revisions are stored where there is a history store, children first."""
    history, by_key = plan.metric.history, not partition_labels(plan)
    wanted = ("none" if by_key else "result") if history is None or history.nodes is None else history.nodes
    if wanted == "none":
        return []
    return list(plan.nodes) if wanted == "all" else [plan.result]


def history_workers(plan: Plan) -> list[HistorySpec]:
    """The workers of the history of ``plan`` where there is a history store."""
    return [spec for node in stored_nodes(plan) for spec in _of_node(plan, node)]


def _of_node(plan: Plan, node: NodeSpec) -> list[HistorySpec]:
    heard = worker_name(plan, node)
    labels: Sequence[str] = (GLOBAL,) if is_global(node) else partition_labels(plan)
    tree = parse(node.expression)
    functions = tree.functions if isinstance(tree, Aggregate) else ("",)
    return [
        HistorySpec(
            worker_id=worker_id(f"{PREFIX}{heard}-{function}" if function else f"{PREFIX}{heard}", label),
            node=stored_name(plan, node, function),
            partition=label,
            partitions=len(labels),
            kind=node.kind,
            expression=node.expression,
            inputs=((worker_id(heard, label),),),
            function=function,
        )
        for label in labels
        for function in functions
    ]
