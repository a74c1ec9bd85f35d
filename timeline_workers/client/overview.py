"""Overview of all metrics: how they are, how far and what they hold; the rows of `timeline get`."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field
from temporalio.client import Client
from temporalio.service import RPCError

from timeline_workers.answers.answer_models import Answer
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.events.times import from_microseconds
from workflows.client import ask, worker_health
from workflows.client.client_errors import clear_errors
from workflows.client.conditions import (
    WELL,
    Applied,
    Look,
    MetricHealth,
    health_of,
    look_at,
)
from workflows.client.conditions.clocks import ahead_of
from workflows.client.conditions.feeding import lag_of, least
from workflows.client.conditions.refusals import latest_noted
from workflows.client.conditions.statuses import progress_of, state_of
from workflows.client.queues import Queue, queue_of
from workflows.client.worker_health import Health
from workflows.messages import CATALOG_ID
from workflows.registry import LEAF, NODE, running
from workflows.search_attributes import METRIC
from workflows.worker_status import WorkerStatus

_CATALOG_SECONDS = 2.5


class MetricOverview(Answer):
    """A metric as `timeline get` shows it; fields that are not known are left out, or None.

    ``workers``: how many answer, of how many; ``watermark`` and ``answerable_from``: of the result, ISO
    8601; ``lag``: seconds that it is behind the topic; ``archived``: keys in archives; ``late``, ``refused``
    and ``ahead``: events; ``cause``: the worst that is wrong, of all ``causes``.
    """

    metric: str
    state: str
    workers: str | None = None
    watermark: str | None = None
    lag: float | None = None
    keys: int | None = None
    archived: int | None = None
    change_points: int | None = None
    bytes: int | None = None
    late: int | None = None
    refused: int | None = None
    ahead: int | None = None
    answerable_from: str | None = None
    partitions: int | str | None = None
    topic: str | None = None
    cause: str | None = None
    causes: list[str] = Field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.state in WELL


class NodeOverview(Answer):
    """A node that a worker computes besides the one it is named for."""

    node: str
    watermark: str | None
    change_points: int


class WorkerOverview(Answer):
    """A worker as `timeline describe` shows it. ``build``: of the worker deployment, where there is one;
    ``watermark``: ISO 8601; ``archived``: keys in archives; ``bytes``: of its state; ``inbox``: what it has
    not applied yet; ``runs``, ``history``: of its workflow, and events of the present run.
    """

    worker: str
    state: str
    build: str = ""
    watermark: str | None
    keys: int | None
    archived: int
    events: int | None
    change_points: int
    bytes: int | None
    inbox: int | None
    runs: int | None
    history: int | None
    nodes: tuple[NodeOverview, ...] = ()


class Overview(BaseModel):
    """All metrics that were looked at. ``warnings`` beside them; ``unanswered``: why the catalog does not
    answer, where it does not: then little is known of the metrics.
    """

    model_config = ConfigDict(frozen=True)

    metrics: tuple[MetricOverview, ...]
    warnings: tuple[str, ...] = ()
    unanswered: str | None = None


async def look_over(client: Client, names: Sequence[str] = ()) -> Overview:
    """All metrics, or ``names``; takes some seconds at most, whatever is wrong."""
    async with clear_errors(client):
        queue = await queue_of(client)
        try:
            async with asyncio.timeout(_CATALOG_SECONDS):
                entries, unusable = await ask.catalog(client)
        except (TimeoutError, ConnectionFailedError):
            return await _without_catalog(client, names, queue)
    look = await look_at(client, queue, entries, unusable, names)
    found = health_of(look)
    rows = [_row(look, *pair) for pair in zip(look.applied, found, strict=False)]
    rows += [
        MetricOverview(metric=one.metric, state=one.state, cause=one.cause, causes=one.causes)
        for one in found[len(look.applied) :]
    ]
    warnings = tuple(f"{one.metric}: {notice}" for one in found for notice in one.notices)
    return Overview(metrics=tuple(rows), warnings=warnings)


async def _without_catalog(client: Client, names: Sequence[str], before: Queue) -> Overview:
    """What can be said when the catalog's workflow does not answer: by the workers' search attributes.
    ``before``: the task queue as it was when the catalog was asked.
    """
    queue = await queue_of(client)
    state, cause = "down", queue.nobody(None)
    if failing := await worker_health.cause_of(client, CATALOG_ID):
        state, cause = "failing", f"{CATALOG_ID}: {failing}"
    elif queue.is_polled_since(before, None):
        state = "busy"
        cause = f"{CATALOG_ID} did not answer in {_CATALOG_SECONDS:g} s, though worker processes are there"
    by_metric: dict[str, int] = defaultdict(int)
    warnings: tuple[str, ...] = ()
    try:
        async for found in client.list_workflows(running(LEAF, NODE)):
            for metric in found.typed_search_attributes.get(METRIC) or ():
                by_metric[metric] += 1
    except RPCError as error:
        warnings = (f"the workers cannot be listed either: {error.message}",)
    rows = tuple(
        MetricOverview(
            metric=metric, state=state, cause=cause, causes=[f"{state}: {cause}"], workers=f"0/{count}"
        )
        for metric, count in sorted(by_metric.items())
        if not names or metric in names
    )
    return Overview(metrics=rows, warnings=warnings, unanswered=cause)


def _row(look: Look, applied: Applied, found: MetricHealth) -> MetricOverview:
    metric, workers, results = applied.metric, applied.workers, applied.results
    answered = all(h.status is not None for h in results)
    return MetricOverview(
        metric=metric.name,
        state=found.state,
        workers=f"{sum(h.status is not None for h in workers)}/{len(workers)}",
        watermark=iso(least([state_of(h).watermark for h in results])),
        lag=lag_of(look, applied),
        keys=sum(state_of(h).keys or 0 for h in results) if answered else None,
        archived=sum(archived(h) for h in results),
        change_points=sum(points(h) for h in workers),
        bytes=sum(state_of(h).bytes or 0 for h in workers),
        late=_counted(workers, "late"),
        refused=_counted(workers, "refused"),
        ahead=sum(ahead_of(one)[0] for one in latest_noted(applied.plan, workers).values()),
        answerable_from=iso(_greatest([state_of(h).answerable_from for h in results])),
        partitions=metric.source.partitions,
        topic=metric.source.topic,
        cause=found.cause,
        causes=found.causes,
    )


def worker_overview(health: Health) -> WorkerOverview:
    """A worker, by how it is."""
    status, state = health.status or WorkerStatus(), state_of(health)
    build = {"build": health.build.partition(".")[2]} if health.build else {}
    return WorkerOverview(
        worker=health.worker_id,
        state=health.state,
        **build,
        watermark=iso(state.watermark),
        keys=state.keys,
        archived=archived(health),
        events=state.events,
        change_points=points(health),
        bytes=state.bytes,
        inbox=status.inbox,
        runs=status.runs,
        history=status.history_events,
        nodes=tuple(
            NodeOverview(node=name, watermark=iso(node.watermark), change_points=node.change_points)
            for name, node in list(state.nodes.items())[:-1]  # the last is the one that it is named for
        ),
    )


def _counted(workers: Iterable[Health], field: str) -> int:
    """A count of the source: every worker hears of it, some later than others."""
    most: dict[int, int] = defaultdict(int)
    for p in (p for one in workers for p in progress_of(one)):
        most[p.partition] = max(most[p.partition], int(getattr(p, field)))
    return sum(most.values())


def points(health: Health) -> int:
    """The change points that a worker holds, of its own and of its inputs."""
    state = state_of(health)
    return state.change_points + state.input_change_points


def archived(health: Health) -> int:
    """How many of its keys are in archives."""
    return 0 if health.status is None else health.status.archived_keys


def iso(micros: int | None) -> str | None:
    """An instant as ISO 8601."""
    return None if micros is None else str(from_microseconds(micros, "iso"))


def _greatest(numbers: Iterable[int | None]) -> int | None:
    return max((n for n in numbers if n is not None), default=None)
