"""Routes about metrics and stored sources: listing, describing, drawing, applying and deleting them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from timeline_workers.alerts.rule_files import load_definition
from timeline_workers.client import TimelineClient
from timeline_workers.client.models import MetricDescription, RemoveResult, SourceResult
from timeline_workers.client.overview import Overview
from timeline_workers.errors import ExpressionError, QuestionError, UnknownNameError
from timeline_workers.events.times import EARLIEST, LATEST, question_time, read_time
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.metric.definition_file import expression_places, metric_file, source_file
from timeline_workers.metric.model import Metric, StoredSource
from timeline_workers.plan.physical import NodeSpec, Plan, plan
from timeline_workers.playback.history_names import recorded_metric

from .csv_tables import csv_answer
from .failures import Failure, WebCode, WebError, failure_of
from .graph_drawing import draw, worker_states
from .rest_models import (
    ApplyAnswer,
    GraphDrawing,
    KeyList,
    KeyRow,
    MetricDetail,
    MetricNode,
    SourceList,
    SourceRow,
    WorkerList,
)
from .site import AsCsv, OfSite, Site

router = APIRouter()
MOST_TEXT = 1 << 20  # bytes of a metric file that is sent
_YAML: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file, as YAML.",
        "content": {"application/yaml": {"schema": {"type": "string"}}},
    }
}
States = Annotated[bool, Query(description="Ask the workers how they are, too.")]
Wait = Annotated[float, Query(ge=1, le=600, description="Seconds until it must be done.")]
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.get("/metrics", tags=["metrics"], response_model=Overview, responses=_CSV)
async def list_metrics(
    site: OfSite,
    metric: Annotated[list[str] | None, Query(description="Only these.")] = None,
    csv: AsCsv = False,
) -> Overview | Response:
    """The applied metrics: whether all is well and if not why, how far they are, what they hold.

    Takes some seconds at most, whatever is wrong.
    """
    found = await (await site.client()).overview(*(metric or ()))
    return csv_answer(found.metrics, "metrics") if csv else found


@router.get("/metrics/{metric}", tags=["metrics"])
async def describe_metric(
    site: OfSite,
    metric: str,
    states: States = True,
    refuse: Annotated[
        bool, Query(description="False: of a metric that is not there it is told with status 200.")
    ] = True,
) -> MetricDetail | Failure:
    """One applied metric: its definition, its nodes, and how it is."""
    client = await site.client()
    try:
        planned = plan(await client.metric(metric))
    except UnknownNameError as error:
        if refuse:
            raise
        return failure_of(error)
    overview, causes = None, list[str]()
    if states:
        rows, described = await asyncio.gather(client.overview(metric), client.describe(metric))
        overview, causes = rows.metrics[0] if rows.metrics else None, described.causes
    applied = planned.metric
    return MetricDetail(
        name=applied.name,
        description=applied.description,
        yaml=metric_file(applied),
        expression=applied.expression,
        topic=applied.source.topic,
        key=applied.source.key,
        time=applied.source.time,
        time_unit=applied.source.time_unit,
        partitions=applied.source.partitions,
        overview=overview,
        nodes=nodes_of(planned),
        causes=causes,
    )


def nodes_of(planned: Plan) -> list[MetricNode]:
    """The nodes of a plan as they are shown."""
    return [_node(node, node is planned.result) for node in planned.nodes]


def _node(node: NodeSpec, is_result: bool) -> MetricNode:
    tree = parse(node.expression)
    return MetricNode(
        node=node.name,
        operator=node.operator,
        expression=node.expression,
        kind=node.kind,
        inputs=list(node.inputs),
        columns=list(node.columns),
        functions=list(tree.functions) if isinstance(tree, Aggregate) else [],
        is_result=is_result,
    )


@router.get("/metrics/{metric}/workers", tags=["metrics"], response_model=WorkerList, responses=_CSV)
async def list_workers(site: OfSite, metric: str, csv: AsCsv = False) -> WorkerList | Response:
    """How each worker of a metric is."""
    described = await (await site.client()).describe(metric)
    found = worker_states(described)
    return csv_answer(found, f"{metric}-workers") if csv else WorkerList(workers=found)


@router.get("/metrics/{metric}/graph", tags=["metrics"])
async def draw_metric(
    site: OfSite,
    metric: str,
    states: States = True,
) -> GraphDrawing:
    """The graph of a metric, laid out, with how each node and edge is."""
    client = await site.client()
    if states:
        described = await client.describe(metric)
    else:
        described = MetricDescription(plan=plan(await client.metric(metric)), workers=())
    return await asyncio.to_thread(draw, described.plan, described)


@router.get("/metrics/{metric}/keys", tags=["metrics"], response_model=KeyList, responses=_CSV)
async def list_keys(
    site: OfSite,
    metric: str,
    start: Annotated[str | None, Query(description="With history: keys with events from here on.")] = None,
    end: Annotated[str | None, Query(description="With history: … and before.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 200,
    csv: AsCsv = False,
) -> KeyList | Response:
    """The keys of a metric: with a history store the busiest ones of a window, else those that the workers of
    its result know, in order.
    """
    client = await site.client()
    applied = await client.metric(metric)
    found = await _keys(site, client, applied, start, end, limit)
    return csv_answer(found.keys, f"{metric}-keys") if csv else found


async def _keys(
    site: OfSite, client: TimelineClient, applied: Metric, start: str | None, end: str | None, limit: int
) -> KeyList:
    if site.store is not None:
        definition = recorded_metric(applied).definition
        reach = await site.store.reach(definition)
        if reach is not None:
            low, high = (
                other
                if text is None
                else question_time(read_time(text, applied.source.time_unit), applied.source.time_unit)
                for text, other in ((start, EARLIEST), (end, LATEST + 1))
            )
            low = low if reach.kept_from is None else max(low, reach.kept_from)
            active = await site.store.keys_active(definition, low, high, limit=limit)
            return KeyList(
                count=active.count, keys=[KeyRow(key=key, events=count) for key, count in active.busiest]
            )
    if start is not None or end is not None:
        raise QuestionError(
            "start and end need a history of the metric's events, and there is none; leave them out"
        )
    keys = await client.keys(applied.name)
    return KeyList(count=len(keys), keys=[KeyRow(key=key, events=None) for key in keys[:limit]])


@router.post("/metrics", tags=["metrics"], openapi_extra=_YAML)
async def apply_metric(
    site: OfSite,
    request: Request,
    dry_run: Annotated[bool, Query(description="Only say what would start, stop and be shared.")] = False,
    wait: Wait = 120.0,
) -> ApplyAnswer:
    """Have a metric's graph of workers running. Applying it again starts only what is missing."""
    if not dry_run:
        site.may_write()
    text = await text_of(request)
    client = await site.client()
    wanted = await read_metric(site, text)
    preview = await client.preview(wanted)
    notices: list[str] = []
    result = None
    if not dry_run:
        result = await client.apply(wanted, timeout=timedelta(seconds=wait), tell=notices.append)
    return ApplyAnswer(preview=preview, result=result, notices=notices)


async def read_metric(site: Site, text: str) -> Metric:
    """The metric of a file that was sent, whose graph can be planned. Errors say the place in the file.

    The catalog is asked only where the metric names a stored source.
    """
    loop = asyncio.get_running_loop()

    async def stored(name: str) -> StoredSource:
        return await (await site.client()).source(name)

    def find(name: str) -> StoredSource:
        return asyncio.run_coroutine_threadsafe(stored(name), loop).result()

    metric = await asyncio.to_thread(load_definition, _as_text(text), find)
    try:
        await asyncio.to_thread(plan, metric)
    except ExpressionError as error:
        places = expression_places(text, error.text)
        raise ExpressionError(
            error.message, text=error.text, span=error.span, hint=error.hint, begins=places
        ) from None
    return metric


def _as_text(text: str) -> str:
    """Text that is not taken for the name of a file."""
    if not text.strip():
        raise QuestionError("there is no file in the request; send its YAML as the body")
    return f"{text}\n"


async def text_of(request: Request) -> str:
    """The text that is the body of a request."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > MOST_TEXT:
            raise WebError(WebCode.TOO_LARGE, f"a file that is sent may have {MOST_TEXT:,} bytes")
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise QuestionError("the body is no UTF-8 text; send YAML") from None


@router.delete("/metrics/{metric}", tags=["metrics"])
async def delete_metric(site: OfSite, metric: str, wait: Wait = 120.0) -> RemoveResult:
    """Remove a metric, and end the workers that no other metric needs."""
    site.may_write()
    return await (await site.client()).delete(metric, timeout=timedelta(seconds=wait))


@router.get("/sources", tags=["sources"])
async def list_sources(site: OfSite) -> SourceList:
    """The stored sources, and the metrics that name them."""
    client = await site.client()
    stored, metrics = await asyncio.gather(client.sources(), client.metrics())
    return SourceList(sources=[_source(one, metrics) for one in stored])


def _source(stored: StoredSource, metrics: Sequence[Metric]) -> SourceRow:
    definition = stored.definition
    named = [
        one.name
        for one in metrics
        if one.named_source is not None and one.named_source.name == definition.name
    ]
    return SourceRow(
        name=definition.name,
        description=definition.description,
        version=stored.version,
        topic=definition.source.topic,
        yaml=source_file(definition),
        metrics=named,
    )


@router.post("/sources", tags=["sources"], openapi_extra=_YAML)
async def store_source(site: OfSite, request: Request) -> SourceResult:
    """Store a source, for metrics to name."""
    site.may_write()
    text = await text_of(request)
    return await (await site.client()).apply_source(_as_text(text))


@router.delete("/sources/{source}", tags=["sources"], status_code=204)
async def delete_source(site: OfSite, source: str) -> None:
    """Remove a stored source that no applied metric names."""
    site.may_write()
    await (await site.client()).delete_source(source)
