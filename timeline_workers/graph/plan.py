"""The physical plan of a metric: nodes, their workers by partition, and what each leaf must be sent.

Node names, worker ids and hashes are a stable interface: a node is named by what it computes, so equal
sub-expressions over equal sources are one worker, and applying a metric twice changes nothing.
"""

from __future__ import annotations

from typing import Literal as Choice

from pydantic import BaseModel, ConfigDict

from ..metric import Metric, Source


class NodeSpec(BaseModel):
    """One node of the canonical expression graph.

    ``name``: a readable slug and a hash of the canonical sub-expression and its source, such as
    ``tl-has-existed-within-3f2a9c11d0``; ``expression``: the canonical text; ``inputs``: names of child nodes by
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


class WorkerSpec(BaseModel):
    """One durable worker: a node in one partition. ``inputs``: per slot, the worker ids to subscribe to.

    An aggregate has one worker, ``partition`` "all", that hears every partition of its children.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker_id: str
    node: NodeSpec
    source: Source
    partition: str
    inputs: tuple[tuple[str, ...], ...] = ()


class Plan(BaseModel):
    """The graph of one metric. ``nodes`` are in topological order, children first; the last is the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Metric
    nodes: tuple[NodeSpec, ...]

    @property
    def result(self) -> NodeSpec:
        """The node that answers for the metric."""
        return self.nodes[-1]
