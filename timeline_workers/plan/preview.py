"""Preview of a metric before it is applied: which workers would start, stop, go on, or are shared.

It is what the catalog would do by the definitions: a worker is needed while some applied metric's plan has
it. Whether one that is needed runs just now is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from .alert_workers import AlertSpec, alert_workers
from .output_workers import OutputSpec, output_workers
from .physical import Plan, all_workers


class PlannedWorker(BaseModel):
    """A worker of the metric, or one that it no longer needs. ``shared``: other metrics that need it, too;
    ``node``: the name of its node, "" for a worker of an output.

    ``start``: nobody needs it yet; ``keep``: it is needed already; ``stop``: only the definition that is
    applied now needs it.
    """

    model_config = ConfigDict(frozen=True)

    worker: str
    change: Literal["start", "keep", "stop"]
    node: str
    operator: str
    expression: str
    partition: str
    shared: tuple[str, ...] = ()


class ApplyPreview(BaseModel):
    """What applying a metric would do. ``outcome``: as in the result of applying it; ``workers``: children
    first, those that stop last. A source with a partition for each key has its workers when keys come.
    """

    model_config = ConfigDict(frozen=True)

    metric: str
    outcome: Literal["new", "unchanged", "replaced"]
    starts: int
    stops: int
    kept: int
    workers: tuple[PlannedWorker, ...]


def preview(wanted: Plan, applied: Iterable[Plan]) -> ApplyPreview:
    """What applying ``wanted`` would do where the plans ``applied`` are applied."""
    needed: dict[str, set[str]] = {}
    before: Plan | None = None
    for one in applied:
        if one.metric.name == wanted.metric.name:
            before = one
            continue
        for worker in _workers(one):
            needed.setdefault(worker, set()).add(one.metric.name)
    old = {} if before is None else _workers(before)
    new = _workers(wanted)
    found = [
        row.model_copy(
            update={
                "change": "keep" if name in old or name in needed else "start",
                "shared": tuple(sorted(needed.get(name, ()))),
            }
        )
        for name, row in new.items()
    ]
    found += [
        row.model_copy(update={"change": "stop"})
        for name, row in old.items()
        if name not in new and name not in needed
    ]
    changes = [one.change for one in found]
    same = before is not None and before.metric == wanted.metric
    return ApplyPreview(
        metric=wanted.metric.name,
        outcome="new" if before is None else "unchanged" if same else "replaced",
        starts=changes.count("start"),
        stops=changes.count("stop"),
        kept=changes.count("keep"),
        workers=tuple(found),
    )


def _workers(plan: Plan) -> dict[str, PlannedWorker]:
    found = {
        spec.worker_id: PlannedWorker(
            worker=spec.worker_id,
            change="keep",
            node=spec.node.name,
            operator=spec.node.operator,
            expression=spec.node.expression,
            partition=spec.partition,
        )
        for spec in all_workers(plan)
    }
    outputs: list[OutputSpec | AlertSpec] = [*output_workers(plan), *alert_workers(plan)]
    for output in outputs:
        found[output.worker_id] = PlannedWorker(
            worker=output.worker_id,
            change="keep",
            node="",
            operator=output.worker_id.partition("-")[0],
            expression=output.expression,
            partition=output.partition,
        )
    return found
