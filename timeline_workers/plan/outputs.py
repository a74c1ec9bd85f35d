"""The workers of a metric's output: one for each worker of its result, which it hears."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal as Choice, Protocol

from pydantic import BaseModel, ConfigDict

from timeline_workers.metric.model import TimeUnit

from .physical import GLOBAL, Plan, is_global, partition_labels, worker_id, worker_name


class Subscribing(Protocol):
    """Whatever hears workers: a node's worker or an output's. ``inputs``: per slot, the workers it hears."""

    @property
    def worker_id(self) -> str:
        """The id of its workflow."""

    @property
    def inputs(self) -> tuple[tuple[str, ...], ...]:
        """Per slot, the ids of the workers that it hears."""


class OutputSpec(BaseModel):
    """One worker of an output: it tells ``topic`` what the worker of a metric's result in ``partition``, one
    of ``partitions``, says. Times are in ``unit``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker_id: str
    metric: str
    topic: str
    partition: str
    partitions: int
    unit: TimeUnit
    kind: Choice["state", "boolean", "numeric"]
    expression: str
    inputs: tuple[tuple[str, ...], ...]


def output_workers(plan: Plan) -> list[OutputSpec]:
    """The workers of the output of ``plan``; none where the metric has no output."""
    metric = plan.metric
    if metric.output is None:
        return []
    heard = worker_name(plan, plan.result)
    labels: Sequence[str] = (GLOBAL,) if is_global(plan.result) else partition_labels(plan)
    identity = f"{metric.name}\0{metric.output.topic}\0{heard}\0{metric.source.time_unit}"
    name = f"output-{metric.name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"
    return [
        OutputSpec(
            worker_id=worker_id(name, label),
            metric=metric.name,
            topic=metric.output.topic,
            partition=label,
            partitions=len(labels),
            unit=metric.source.time_unit,
            kind=plan.result.kind,
            expression=plan.result.expression,
            inputs=((worker_id(heard, label),),),
        )
        for label in labels
    ]
