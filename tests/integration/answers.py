"""Everything a metric's workers answer, and the same from evaluation in process, for comparing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temporalio.client import Client

import timeline_workers
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import plan
from workflows.client import ask

Question = tuple[str, dict[str, Any]]


async def answers(client: Client, metric: Metric, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """What the result says to ``questions``, in microseconds, for every key and function; without `final`."""
    planned = plan(metric)
    found = []
    for function in ask.functions_of(planned.result):
        for query, question in questions:
            asked = {**question, "unit": "us"} | ({"aggregate": function} if function else {})
            async for answer in ask.ask(client, planned, planned.result, query, [asked]):
                found.append(_without_final(answer))
    return found


def evaluated(
    metric: Metric, rows: Sequence[Mapping[str, Any]], questions: Sequence[Question]
) -> list[dict[str, Any]]:
    """What evaluation in process says to the same, over ``rows`` whose times are microseconds."""
    source = metric.source
    result = timeline_workers.evaluate(
        metric.expression, rows, key=source.key, time=source.time, time_unit="us"
    )
    found = []
    for function in ask.functions_of(plan(metric).result):
        of = {"aggregate": function} if function else {}
        for query, question in questions:
            ask_one = getattr(result, query)
            for key in result.keys():  # noqa: SIM118  # a method of the result, which is no mapping
                each = (
                    [ask_one(key, at, **of) for at in question["at"]]
                    if query == "value_at"
                    else [ask_one(key, question["start"], question["end"], **of)]
                )
                found += [_without_final(one.model_dump()) for one in each]
    return found


def _without_final(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "final"}
