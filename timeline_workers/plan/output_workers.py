"""The workers of a metric's output: one for each worker of its result, which it hears; of an aggregate, one
for each function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal as Choice, Protocol

from pydantic import BaseModel, ConfigDict, Field

from timeline_workers.language.operator_table import is_exact
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate, Expression
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
    of ``partitions``, says. Times are in ``unit``. ``function``: of an aggregate, which of its ``functions``
    it tells; "" where the result is per key. ``read_by``: the kind of ``changelog(...)`` that reads it;
    "": of release 0.5.0, whose messages do not say it.
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
    function: Annotated[str, Field(exclude_if=lambda function: not function)] = ""
    functions: Annotated[tuple[str, ...], Field(exclude_if=lambda functions: not functions)] = ()
    read_by: Annotated[str, Field(exclude_if=lambda kind: not kind)] = ""


def output_workers(plan: Plan) -> list[OutputSpec]:
    """The workers of the output of ``plan``; none where the metric has no output."""
    metric = plan.metric
    if metric.output is None:
        return []
    heard = worker_name(plan, plan.result)
    labels: Sequence[str] = (GLOBAL,) if is_global(plan.result) else partition_labels(plan)
    identity = f"{metric.name}\0{metric.output.topic}\0{heard}\0{metric.source.time_unit}"
    tree = parse(plan.result.expression)
    functions: tuple[str, ...] = tree.functions if isinstance(tree, Aggregate) else ()
    names = {function: _name(metric.name, function, identity) for function in functions or ("",)}
    return [
        OutputSpec(
            worker_id=worker_id(name, label),
            function=function,
            functions=functions,
            metric=metric.name,
            topic=metric.output.topic,
            partition=label,
            partitions=len(labels),
            unit=metric.source.time_unit,
            kind=plan.result.kind,
            expression=plan.result.expression,
            inputs=((worker_id(heard, label),),),
            read_by=_read_by(tree, plan.result.kind, function),
        )
        for label in labels
        for function, name in names.items()
    ]


def _read_by(tree: Expression, kind: str, function: str) -> str:
    """The kind of ``changelog(...)`` that reads what is published of ``tree``: of a Numeric the one that
    computes as it does.
    """
    if kind != "numeric":
        return kind
    of = tree.of if isinstance(tree, Aggregate) else tree
    return "numeric" if is_exact(of) and function != "count" else "number"


def _name(metric: str, function: str, identity: str) -> str:
    digest = hashlib.sha256((f"{identity}\0{function}" if function else identity).encode()).hexdigest()
    return "-".join(["output", metric, *([function] if function else []), digest[:10]])
