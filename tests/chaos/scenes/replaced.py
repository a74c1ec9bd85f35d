"""Metrics that are replaced while events come."""

from __future__ import annotations

from tests.chaos.scene import Act, Course, Scene, Step
from timeline_workers.plan.physical import plan
from workflows.client import ask


def replace(metric: str, old: str, new: str) -> Step:
    """`timeline apply` of the metric with another expression."""

    async def inflict(course: Course) -> None:
        before = course.planned(metric)
        text = before.metric.expression.replace(old, new)
        assert text != before.metric.expression
        definition = before.metric.model_copy(update={"expression": text})
        await ask.apply(course.client, definition, continue_as_new_after=course.hand_over)
        course.plans[course.plans.index(before)] = plan(definition)

    return inflict


SCENE = Scene(
    name="replaced",
    about="a metric is replaced under load",
    acts=(
        Act("derived", "a metric gets another threshold: new derived workers",
            replace("cirr", '"CDN1"', '"CDN2"'), hold=8),
        Act("leaf", "a metric gets another window: a new leaf, which reads the past",
            replace("cirr", "5s", "9s"), hold=8),
        Act("fused", "a fused metric is replaced", replace("cirr-fused", '"CDN1"', '"CDN3"'), hold=8),
        Act("aggregate", "what an aggregate ranges over is replaced",
            replace("by-cdn", '"buffer"', '"pause"'), hold=8),
        Act("back", "a metric is what it was before", replace("cirr", "9s", "5s"), hold=8),
    ),
)  # fmt: skip
