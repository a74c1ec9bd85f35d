"""Routes that answer questions: about a metric's workers, about an expression, about events that are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from itertools import islice
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import ValidationError

from timeline_workers.answers.answer_models import Change, Doubt, Spans, ValueAt
from timeline_workers.client import TimelineClient, Written
from timeline_workers.client.models import Key, Question, find_node, question
from timeline_workers.errors import (
    ExpressionError,
    MetricError,
    QuestionError,
    RuleError,
    TimelineError,
    UnknownNameError,
)
from timeline_workers.evaluation import Result
from timeline_workers.events.times import read_time
from timeline_workers.language.canonical import canonical, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import ColumnSpec, Metric, Source, TimeUnit
from timeline_workers.plan.physical import is_global, plan

from .csv_tables import csv_answer
from .failures import failure_of
from .graph_drawing import draw
from .metric_routes import nodes_of, read_metric
from .rest_models import Answers, CheckAnswer, CheckRequest, EvaluateAnswer, EvaluateRequest, RefusedEvent
from .site import AsCsv, OfSite, Site, Unit

router = APIRouter()
MOST_ANSWERS = 10_000
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.get("/metrics/{metric}/query", tags=["questions"], response_model=Answers, responses=_CSV)
async def query_metric(
    site: OfSite,
    metric: str,
    at: Annotated[list[str] | None, Query(description="The values at these instants; or:")] = None,
    spans: Annotated[str | None, Query(description="The spans over A,B; or:")] = None,
    change: Annotated[str | None, Query(description="The change over A,B.")] = None,
    every: Annotated[str | None, Query(description="With change: per interval, such as 1m.")] = None,
    key: Annotated[list[str] | None, Query(description="Keys as written, or groups of an aggregate.")] = None,
    all: Annotated[bool, Query(description="Every key that the workers know.")] = False,
    node: Annotated[str | None, Query(description="Its name, the start of it, or its expression.")] = None,
    aggregate: Annotated[str | None, Query(description="The function of an aggregate.")] = None,
    unit: Unit = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ANSWERS)] = 1_000,
    csv: AsCsv = False,
) -> Answers | Response:
    """Ask the workers of a metric: the value at an instant, the spans or the change over a range."""
    if sum(asked is not None for asked in (at or None, spans, change)) != 1:
        raise QuestionError("ask one thing: at=T, spans=A,B or change=A,B")
    if every is not None and change is None:
        raise QuestionError("every goes with change=A,B")
    if key and all:
        raise QuestionError("key names keys and all=true means every key; give one of them")
    client = await site.client()
    planned = plan(await client.metric(metric))
    if not key and not all and not is_global(find_node(planned, node)):
        raise QuestionError("name a key with key=, or ask for every key with all=true")
    used = unit or planned.metric.source.time_unit
    asked = _question(at, spans, change, every, used, node=node, aggregate=aggregate)
    keys = [Written(text) for text in key] if key else None
    found: list[ValueAt | Spans | Change] = []
    more = False
    async with aclosing(client.ask_planned(planned, asked, keys)) as answers:
        async for answer in answers:
            if len(found) == limit:
                more = True
                break
            found.append(answer)
    if csv:
        return csv_answer(found, metric)
    said = {(one.health.state, one.health.cause): one.health for one in found if one.health is not None}
    doubts = list(said.values()) or ([] if found else await _what_ails(client, metric))
    return Answers(
        answers=found,
        more=more,
        doubts=doubts,
        notices=[str(one) for one in client.notices()],
    )


def _question(
    at: list[str] | None,
    spans: str | None,
    change: str | None,
    every: str | None,
    unit: TimeUnit,
    **narrowed: str | None,
) -> Question:
    if at:
        times = tuple(read_time(text, unit) for text in at)
        return question("value_at", at=times if len(times) > 1 else times[0], unit=unit, **narrowed)
    start, end = range_of(cast(str, spans or change), unit)
    if spans is not None:
        return question("spans", start=start, end=end, unit=unit, **narrowed)
    return question("change", start=start, end=end, every=every, unit=unit, **narrowed)


def range_of(text: str, unit: TimeUnit) -> tuple[int | float | str, int | float | str]:
    """The two times of a range that is written ``A,B``. Raises QuestionError."""
    parts = text.split(",")
    if len(parts) != 2:
        raise QuestionError(f"{text!r} is no range; write two times, A,B")
    return read_time(parts[0], unit), read_time(parts[1], unit)


async def _what_ails(client: TimelineClient, metric: str) -> list[Doubt]:
    """The worst that is wrong with a metric of which nothing is known."""
    try:
        (health,) = await client.health(metric)
    except TimelineError:
        return []
    return [] if health.is_well else [Doubt(state=health.state, cause=health.cause or "no cause is known")]


@router.post("/check", tags=["expressions"])
async def check_expression(site: OfSite, asked: CheckRequest) -> CheckAnswer:
    """Check an expression or a metric file, as it is typed: mistakes with their place, and the graph.

    A mistake is an answer, not a failure.
    """
    if (asked.expression is None) == (asked.yaml is None):
        raise QuestionError("give one of expression and yaml")
    given = None if asked.yaml is not None else await _metric(site, asked)
    try:
        wanted = given or await _of_file(site, asked.yaml or "")
        return await asyncio.to_thread(_checked, wanted, asked)
    except (ExpressionError, MetricError, RuleError, UnknownNameError) as error:
        return CheckAnswer(
            ok=False,
            failures=[failure_of(error)],
            metric=None,
            kind=None,
            canonical=None,
            nodes=[],
            columns={},
            graph=None,
        )


async def _of_file(site: Site, text: str) -> Metric:
    """The metric of a file, or a rule's; the targets that it names are there."""
    wanted = await read_metric(site, text)
    if wanted.alert is not None:
        await (await site.client()).check_targets(wanted)
    return wanted


async def _metric(site: Site, asked: CheckRequest) -> Metric:
    """The expression as a metric. Not validated: what is wrong with it is for its own error to say."""
    if asked.like is not None:
        like = await (await site.client()).metric(asked.like)
        return like.model_copy(update={"expression": asked.expression})
    columns = {name: ColumnSpec(type=kind) for name, kind in (asked.columns or {}).items()}
    try:
        source = Source(topic="events", key="key", time="time", columns=columns)
    except ValidationError as error:
        raise QuestionError(f"columns: {error.errors()[0]['msg']}") from None
    return Metric.model_construct(name="expression", source=source, expression=asked.expression or "")


def _checked(metric: Metric, asked: CheckRequest) -> CheckAnswer:
    planned = plan(metric)
    declared = {name: spec.type for name, spec in metric.source.columns.items()} or None
    tree = parse(metric.expression)
    checked = check(tree, declared, text=metric.expression)
    return CheckAnswer(
        ok=True,
        failures=[],
        metric=metric.name if asked.yaml is not None else None,
        kind=planned.result.kind,
        canonical=to_text(canonical(tree)),
        nodes=nodes_of(planned),
        columns={name: checked.requirements.get(name) for name in checked.columns},
        graph=draw(planned) if asked.draw else None,
    )


@router.post("/evaluate", tags=["expressions"])
async def evaluate_events(asked: EvaluateRequest) -> EvaluateAnswer:
    """Evaluate an expression over the events that are sent, with no worker: as `timeline eval`."""
    if sum(one is not None for one in (asked.at or None, asked.spans, asked.change)) != 1:
        raise QuestionError("ask one thing: at, spans or change")
    if asked.every is not None and asked.change is None:
        raise QuestionError("every goes with change")
    return await asyncio.to_thread(_evaluated, asked)


def _evaluated(asked: EvaluateRequest) -> EvaluateAnswer:
    result = Result(
        asked.expression,
        key=asked.key,
        time=asked.time,
        time_unit=asked.time_unit,
        columns=asked.columns,
        newest_first=asked.newest_first,
    )
    if isinstance(asked.events, str):
        lines = [line for line in asked.events.splitlines() if line.strip()]
        refused = result.add(list(lines))
    else:
        refused = result.add(list(asked.events))
    keys = result.keys() if asked.keys is None else [key for text in asked.keys for key in result.named(text)]
    found = list(islice(_answers(result, keys, asked), MOST_ANSWERS + 1))
    if len(found) > MOST_ANSWERS:
        raise QuestionError(f"there are over {MOST_ANSWERS:,} answers; ask about fewer keys or instants")
    warnings = [result.order_problem] if result.order_problem else []
    if result.accepted and not result.rejected:
        warnings += [
            f"no event has a value at {column!r}, which the expression uses; is the name right?"
            for column in result.unmet_columns
        ]
    return EvaluateAnswer(
        answers=found,
        accepted=result.accepted,
        refused=[RefusedEvent(row=one.row, reason=one.reason, message=one.message) for one in refused],
        warnings=warnings,
    )


def _answers(result: Result, keys: list[Key], asked: EvaluateRequest) -> Iterator[ValueAt | Spans | Change]:
    for key in keys:
        for function in result.aggregates or (None,):
            if asked.at:
                yield from (result.value_at(key, at, aggregate=function) for at in asked.at)
            elif asked.spans is not None:
                yield result.spans(key, *asked.spans, aggregate=function)
            elif asked.change is not None:
                found = result.change(key, *asked.change, asked.every, aggregate=function)
                yield from found if isinstance(found, list) else [found]
