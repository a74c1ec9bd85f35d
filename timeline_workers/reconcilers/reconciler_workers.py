"""The workers of a reconciler: of one that follows a metric one for each worker of its result, which it
hears; of a bucket one for each partition, or key, which hears nobody.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import ReconcilerError
from timeline_workers.language.operator_table import is_exact
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.plan.physical import (
    GLOBAL,
    Plan,
    is_global,
    label_of,
    partition_labels,
    worker_id,
    worker_name,
)

from .definition import Definition

PREFIX = "reconciler-"
BUCKET = "bucket"


class ReconcilerSpec(BaseModel):
    """One worker of a reconciler: that of ``partition``, number ``place`` of ``partitions``. ``inputs``: the
    worker whose values, those of ``expression``, are the desired states; none of a bucket. ``groups``: its
    keys are groups of an aggregate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker_id: str
    definition: Definition
    partition: str
    place: int = 0
    partitions: int = 1
    expression: str = ""
    inputs: tuple[tuple[str, ...], ...] = ()
    function: Annotated[str, Field(exclude_if=lambda function: not function)] = ""
    groups: Annotated[bool, Field(exclude_if=lambda groups: not groups)] = False


def reconciler_workers(definition: Definition, plan: Plan | None = None) -> list[ReconcilerSpec]:
    """The workers of a reconciler; ``plan``: that of the metric that it follows, None: a bucket.

    None of a bucket with a worker for each key. Raises ReconcilerError for a metric that it cannot follow.
    """
    if definition.follow is None or plan is None:
        parts = definition.partitions
        return [] if parts == "per-key" else [_of_bucket(definition, f"p{n}") for n in range(parts)]
    tree = parse(plan.result.expression)
    function = _function(definition, tree)
    _refuse_slope(definition, tree, function)
    labels = (GLOBAL,) if is_global(plan.result) else partition_labels(plan)
    if not labels:
        raise ReconcilerError(
            f"reconciler {definition.name!r}: metric {definition.follow!r} has partitions: per-key, and "
            "nobody can say beforehand which workers there will be; give it a number of partitions"
        )
    known = definition.model_copy(
        update={
            "unit": plan.metric.source.time_unit,
            "partitions": len(labels),
            "grouped": is_global(plan.result),
        }
    )
    known = Definition.model_validate(known.model_dump())  # the partitions of the metric fit max_running
    heard = worker_name(plan, plan.result)
    return [
        ReconcilerSpec(
            worker_id=worker_id(PREFIX + definition.name, label),
            definition=known,
            partition=label,
            place=place,
            partitions=len(labels),
            expression=plan.result.expression,
            inputs=((worker_id(heard, label),),),
            function=function,
            groups=is_global(plan.result),
        )
        for place, label in enumerate(labels)
    ]


def bucket_worker(definition: Definition, key: Key) -> ReconcilerSpec:
    """The worker of a bucket that ``key`` belongs to."""
    return _of_bucket(definition, label_of(key, definition.partitions))


def worker_of(definition: Definition, key: Key) -> str:
    """The id of the worker that knows ``key``; ``definition``: as a worker, or the catalog, has it."""
    label = GLOBAL if definition.grouped else label_of(key, definition.partitions)
    return worker_id(PREFIX + definition.name, label)


def workers_of(definition: Definition) -> list[str] | None:
    """The ids of all workers; None: there is one for each key, and only the server knows them."""
    parts = definition.partitions
    if parts == "per-key":
        return None
    labels = [GLOBAL] if definition.grouped else [f"p{n}" for n in range(parts)]
    return [worker_id(PREFIX + definition.name, label) for label in labels]


def _of_bucket(definition: Definition, label: str) -> ReconcilerSpec:
    parts = definition.partitions
    many = parts if isinstance(parts, int) else 1
    return ReconcilerSpec(
        worker_id=worker_id(PREFIX + definition.name, label),
        definition=definition,
        partition=label,
        place=int(label[1:]) if isinstance(parts, int) else 0,
        partitions=many,
        expression=BUCKET,
    )


def _function(definition: Definition, tree: Any) -> str:
    functions: tuple[str, ...] = tree.functions if isinstance(tree, Aggregate) else ()
    wanted = definition.function
    if wanted and wanted not in functions:
        known = ", ".join(functions) or "none: it is no aggregate"
        raise ReconcilerError(
            f"reconciler {definition.name!r}: metric {definition.follow!r} has no function {wanted!r}; it "
            f"has {known}"
        )
    if not wanted and len(functions) > 1:
        raise ReconcilerError(
            f"reconciler {definition.name!r}: metric {definition.follow!r} has the functions "
            f"{', '.join(functions)}; say which one with function="
        )
    return wanted or (functions[0] if functions else "")


def _refuse_slope(definition: Definition, tree: Any, function: str) -> None:
    of = tree.of if isinstance(tree, Aggregate) else tree
    if function != "count" and is_exact(of):
        raise ReconcilerError(
            f"reconciler {definition.name!r}: the values of metric {definition.follow!r} grow with time, and "
            "a reconciler acts on a level; follow a metric that compares them, as in `… > 60`"
        )
