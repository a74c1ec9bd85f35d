"""A real Temporal dev server with a worker, and a feeder of lists of events, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import warnings
from collections.abc import AsyncIterator, Sequence
from typing import Any

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

import timeline_workers
from tests.oracle.events import Event
from tests.properties.batches import batch_of
from timeline_workers.algebra.leaf_input import LeafRouter, Progress
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import WorkerSpec, all_workers, partition_of, plan, worker_id
from timeline_workers.servers.temporal.temporal_client import DATA_CONVERTER
from timeline_workers.settings.timeline_settings import Settings
from timeline_workers.wire.leaf_batch import encode_leaf_batch
from workflows.client.ask import ask_worker
from workflows.messages import DRIVER_ID, DriverInput, DriverResult
from workflows.worker import build_worker

SECOND = 1_000_000
TASK_QUEUE = Settings().task_queue

CIRR = """duration_where(latest_event_to_state(playerStateChange) == "buffer"
    && has_existed(playerStateChange == "play")
    && !has_existed_within(userAction == "seek", 5s)
    && latest_event_to_state(cdnChange) == "CDN1")"""

WORKED_EXAMPLE = [
    ("playerStateChange", "init", 0),
    ("cdnChange", "CDN1", 1),
    ("playerStateChange", "play", 2),
    ("playerStateChange", "buffer", 10),
    ("userAction", "seek", 14),
    ("playerStateChange", "play", 22),
    ("playerStateChange", "pause", 25),
    ("cdnChange", "CDN2", 30),
    ("playerStateChange", "buffer", 40),
    ("playerStateChange", "play", 45),
]


async def end_by_hand(client: Client, workflow_id: str, how: str = "terminate") -> str:
    """Terminate or cancel a workflow, as an operator does; returns the id of its run, which has ended."""
    found = await client.get_workflow_handle(workflow_id).describe()
    run = client.get_workflow_handle(workflow_id, run_id=found.run_id)
    await (run.cancel() if how == "cancel" else run.terminate(reason="by hand"))
    while (await run.describe()).close_time is None:
        await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
    return found.run_id


def metric(name: str = "cirr", expression: str = CIRR, partitions: int | str = 2) -> Metric:
    source = Source.model_validate(
        {"topic": "playback", "key": "session", "time": "t", "partitions": partitions}
    )
    return Metric(name=name, source=source, expression=expression)


def worked_example(key: str = "s1") -> list[Event]:
    return [
        Event(key=key, time=at * SECOND, columns={column: value}, position=(0, 0, i))
        for i, (column, value, at) in enumerate(WORKED_EXAMPLE)
    ]


def sessions(keys: int, events_each: int, seed: int = 7) -> list[Event]:
    """Events of several sessions, in an order of arrival that is not that of time."""
    rng = random.Random(seed)
    drawn = []
    for key in range(keys):
        for _ in range(events_each):
            column, value = rng.choice(
                [("playerStateChange", v) for v in ("init", "play", "buffer", "pause")]
                + [("userAction", "seek"), ("cdnChange", "CDN1"), ("cdnChange", "CDN2")]
            )
            drawn.append((f"s{key}", rng.randrange(0, 600), column, value))
    return [
        Event(key=key, time=at * SECOND, columns={column: value}, position=(0, 0, i))
        for i, (key, at, column, value) in enumerate(drawn)
    ]


@contextlib.asynccontextmanager
async def dev_server() -> AsyncIterator[Client]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=shutil.which("temporal"),
        data_converter=DATA_CONVERTER,
        dev_server_log_level="error",
    ) as environment:
        yield environment.client


@contextlib.asynccontextmanager
async def cluster(cached: int = 1000) -> AsyncIterator[Client]:
    """A server and a worker whose workflows run in the sandbox."""
    # The client library says so of a local activity that had just ended when its run left the cache; where
    # warnings are errors, its worker ends over it.
    warnings.filterwarnings("ignore", "Cannot find activity to cancel")
    settings = Settings(max_cached_workflows=cached, sandbox=True)
    async with dev_server() as client, build_worker(client, settings):
        yield client


async def apply(client: Client, applied: Metric, continue_as_new_after: int | None = None) -> DriverResult:
    result: DriverResult = await client.execute_workflow(
        "TimelineDriver",
        DriverInput(metric=applied, continue_as_new_after=continue_as_new_after),
        id=DRIVER_ID.format(metric=applied.name),
        task_queue=TASK_QUEUE,
        result_type=DriverResult,
    )
    return result


def leaf_payloads(
    applied: Metric, events: Sequence[Event], progress: tuple[Progress, ...] | None = None
) -> list[tuple[WorkerSpec, bytes]]:
    """What the feeder would send the leaves for these events, which have rising positions; ``progress`` says
    how far the source is then (default: at the last event, with no watermark)."""
    if progress is None:
        progress = (Progress(*events[-1].position, None),)
    payloads = []
    for spec in all_workers(plan(applied)):
        if spec.node.is_leaf:
            mine = [e for e in events if partition_of(e.key, applied.source) == spec.partition]
            router = LeafRouter(parse(spec.node.expression))
            payloads.append((spec, encode_leaf_batch(router.batch(batch_of(mine), progress))))
    return payloads


async def feed(client: Client, applied: Metric, events: Sequence[Event], batch: int = 1000) -> None:
    """Send the leaves ``events``, before which there was nothing."""
    for spec in all_workers(plan(applied)):
        if spec.node.is_leaf:
            await client.get_workflow_handle(spec.worker_id).signal("complete")
    for start in range(0, len(events), batch):
        for spec, payload in leaf_payloads(applied, events[start : start + batch]):
            await client.get_workflow_handle(spec.worker_id).signal("ingest", payload)


async def status(client: Client, worker: str) -> dict[str, Any]:
    answer: dict[str, Any] = await ask_worker(client, worker, "status")
    return answer


def result_workers(applied: Metric) -> list[str]:
    planned = plan(applied)
    return [spec.worker_id for spec in all_workers(planned) if spec.node.name == planned.result.name]


async def until_everything_arrived(client: Client, applied: Metric, events: Sequence[Event]) -> None:
    """Wait until the result workers know everything up to the last event; a test's own time limit ends it.

    A worker process that was just started may not answer yet.
    """
    last = list(events[-1].position)
    for worker in result_workers(applied):
        while True:
            state = None
            with contextlib.suppress(ConnectionFailedError):
                state = (await status(client, worker))["state"]
            reached = [[p["partition"], p["major"], p["minor"]] for p in state["progress"]] if state else []
            if last in reached:
                break
            await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees


async def value(client: Client, applied: Metric, key: Any, at: int) -> Any:
    planned = plan(applied)
    worker = worker_id(planned.result.name, partition_of(key, applied.source))
    return (await ask_worker(client, worker, "value_at", {"key": key, "at": at}))["value"]


async def assert_same_as_in_process(client: Client, applied: Metric, events: Sequence[Event]) -> None:
    """Every key's value at 20 instants is what evaluation in process says."""
    rows = [{"session": e.key, "t": e.time, **e.columns} for e in events]
    expected = timeline_workers.evaluate(applied.expression, rows, key="session", time="t", time_unit="us")
    planned = plan(applied)
    compared = 0
    for key in sorted({e.key for e in events}):
        worker = worker_id(planned.result.name, partition_of(key, applied.source))
        for at in range(0, 620 * SECOND, 31 * SECOND):
            want = expected.value_at(key, at).model_dump()
            got = await ask_worker(client, worker, "value_at", {"key": key, "at": at, "unit": "us"})
            assert {**got, "final": None} == {**want, "final": None}
            compared += 1
    assert compared
