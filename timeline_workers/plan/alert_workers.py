"""The workers of an alert rule: one for each worker of its truth, which it hears."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict

from timeline_workers.metric.alert_model import Alert

from .physical import Plan, partition_labels, worker_id, worker_name

PREFIX = "alert-"


class AlertSpec(BaseModel):
    """One worker of ``rule``: it tells the targets of ``alert`` of the episodes of the keys in ``partition``,
    one of ``partitions``. ``expression``: what is true; ``topic``: of its source. Other ways to tell the same
    truth have the same worker, so that what was told is known to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker_id: str
    rule: str
    description: str = ""
    topic: str
    partition: str
    partitions: int
    expression: str
    inputs: tuple[tuple[str, ...], ...]
    alert: Alert

    @property
    def function(self) -> str:
        """Of an aggregate, which function is heard: a rule has none."""
        return ""


def alert_workers(plan: Plan) -> list[AlertSpec]:
    """The workers of the rule that ``plan`` is of; none where it is of a metric that is no rule."""
    metric = plan.metric
    if metric.alert is None:
        return []
    heard, labels = worker_name(plan, plan.result), partition_labels(plan)
    digest = hashlib.sha256(f"{metric.name}\0{heard}".encode()).hexdigest()[:10]
    return [
        AlertSpec(
            worker_id=worker_id(f"{PREFIX}{metric.name}-{digest}", label),
            rule=metric.name,
            description=metric.description,
            topic=metric.source.topic,
            partition=label,
            partitions=len(labels),
            expression=plan.result.expression,
            inputs=((worker_id(heard, label),),),
            alert=metric.alert,
        )
        for label in labels
    ]
