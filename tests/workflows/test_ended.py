"""Answers and the catalog when something was ended by hand: nothing is old without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from tests.oracle.events import Event
from tests.workflows.cluster import (
    apply,
    assert_same_as_in_process,
    cluster,
    end_by_hand,
    feed,
    metric,
    sessions,
    status,
    until_everything_arrived,
    value,
    worked_example,
)
from timeline_workers.errors import UnknownNameError
from timeline_workers.metric.model import Metric, Output, Source
from timeline_workers.plan.physical import all_workers, plan
from workflows.client import ask, beneath
from workflows.client.conditions import metric_health
from workflows.client.start import ensure_workers
from workflows.messages import CATALOG_ID, DRIVER_ID, CatalogEntry

pytestmark = pytest.mark.integration

TASK_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED

BUFFERING = 'duration_where(latest_event_to_state(playerStateChange) == "buffer")'


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "KNOWN_SECONDS", 0)


async def fed(client: Client, applied: Metric, events: Sequence[Event]) -> list[str]:
    """Apply a metric and feed it as a feeder does; returns its workers, the leaf first."""
    await apply(client, applied)
    workers = [spec.worker_id for spec in all_workers(plan(applied))]
    await feed(client, applied, events)
    await until_everything_arrived(client, applied, events)
    return workers


async def answer(client: Client, applied: Metric, node: str | None = None, key: str = "s1") -> dict[str, Any]:
    """What a client hears about a key at 45 s, as of now."""
    planned = plan(applied)
    found = ask.ask(client, planned, ask.find_node(planned, node), "value_at", [{"at": 45}], keys=[key])
    return await anext(found)


@pytest.mark.parametrize("how", ["terminate", "cancel"])
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_an_answer_names_an_ended_worker(how: str, place: int) -> None:
    """Leaf, derived worker, result worker: the last value, in doubt and not final, until it runs again."""
    buffering = metric("buffering", BUFFERING, partitions=1)
    async with cluster() as client:
        workers = await fed(client, buffering, worked_example())
        well = await answer(client, buffering)
        assert "health" not in well
        with pytest.raises(UnknownNameError, match="no key 's2'") as unknown:
            await answer(client, buffering, key="s2")
        assert unknown.value.doubt is None
        await end_by_hand(client, workers[place], how)
        doubtful = await answer(client, buffering)
        assert doubtful["health"]["state"] == "down"
        assert f"{workers[place]}: ended ({how}" in doubtful["health"]["cause"]
        assert not doubtful["final"]
        assert doubtful["value"] == well["value"]
        with pytest.raises(UnknownNameError, match="no key 's2'; there are 's1'") as unknown:
            await answer(client, buffering, key="s2")
        assert unknown.value.doubt == ("down", doubtful["health"]["cause"])
        [health] = await metric_health(client)
        assert health.state == "down"
        await fed(client, buffering, worked_example())
        while "health" in (mended := await answer(client, buffering)):
            await asyncio.sleep(0.05)
        assert mended == well


async def test_an_answer_names_a_broken_edge() -> None:
    """The client by what both say; a worker that is rebuilt by itself, also to a plain query."""
    buffering = metric("buffering", BUFFERING, partitions=1)
    async with cluster() as client:
        leaf, inner, _ = await fed(client, buffering, worked_example())
        await end_by_hand(client, leaf)
        await ensure_workers(client, all_workers(plan(buffering))[:1])  # as by who is killed after that
        doubtful = await answer(client, buffering)
        assert doubtful["health"]["state"] == "failing"
        assert f"{leaf} has no edge to {inner}" in doubtful["health"]["cause"]
        [health] = await metric_health(client)
        assert ("failing", inner) in [(c.state, c.worker) for c in health.conditions]
        await client.get_workflow_handle(inner).signal("resubscribe", leaf)
        await feed(client, buffering, worked_example()[:4])
        while not (await status(client, inner))["state"].get("rebuilding"):
            await asyncio.sleep(0.05)
        plain = await client.get_workflow_handle(inner).query("value_at", {"key": "s1", "at": 5})
        assert plain["health"]["state"] == "lagging"
        assert leaf in plain["health"]["cause"]
        assert not plain["final"]
        await feed(client, buffering, worked_example())
        while "health" in (found := await answer(client, buffering)) or found["value"] != 17:
            await asyncio.sleep(0.05)  # what its input has sent may be on its way to the result worker
        assert await value(client, buffering, "s1", 45) == 17


@pytest.mark.parametrize("how", ["terminate", "cancel"])
async def test_a_catalog_that_was_ended_forgets_no_metric(how: str) -> None:
    """Answers and `timeline get` say it, and applying any metric starts it again with what it had."""
    buffering = metric("buffering", BUFFERING, partitions=1)
    async with cluster() as client:
        await fed(client, buffering, worked_example())
        await end_by_hand(client, CATALOG_ID, how)
        doubtful = await answer(client, buffering)
        assert doubtful["health"]["state"] == "down"
        assert CATALOG_ID in doubtful["health"]["cause"]
        [health] = await metric_health(client)
        assert (health.state, health.conditions[0].worker) == ("down", CATALOG_ID)
        await apply(client, metric("other", BUFFERING.replace("buffer", "play"), partitions=1))
        entries: list[CatalogEntry] = await ask.registered(client)
        assert [entry.metric.name for entry in entries] == ["buffering", "other"]
        assert not [c for health in await metric_health(client) for c in health.conditions if c.worker]
        assert "health" not in await answer(client, buffering)


async def test_a_driver_that_was_ended_is_run_again() -> None:
    buffering = metric("buffering", BUFFERING, partitions=1)
    async with cluster() as client:
        await client.start_workflow(
            "TimelineDriver", {"metric": buffering.model_dump(mode="json")},
            id=DRIVER_ID.format(metric="buffering"), task_queue="timeline",
        )  # fmt: skip
        await end_by_hand(client, DRIVER_ID.format(metric="buffering"))
        await fed(client, buffering, worked_example())
        assert await value(client, buffering, "s1", 45) == 17


async def test_workers_that_another_has_started_meanwhile_count_as_started() -> None:
    """A feeder hears of a metric before its driver starts the workers, and may be faster."""
    buffering = metric("buffering", BUFFERING, partitions=1)
    async with cluster() as client:

        async def feeder() -> None:
            while not await ask.registered(client):
                pass
            await ensure_workers(client, all_workers(plan(buffering)), metrics=["buffering"])

        racing = asyncio.create_task(feeder())
        result = await apply(client, buffering)
        await racing
        assert (result.started, result.existing, result.beginning) == (3, 0, ())
        again = await apply(client, buffering)
        assert (again.started, again.existing) == (0, 3)


async def reset(client: Client, worker: str, *, first: bool) -> None:
    """Reset a worker to its first workflow task, or the last, as `temporal workflow reset` does."""
    handle = client.get_workflow_handle(worker)
    done = [e.event_id async for e in handle.fetch_history_events() if e.event_type == TASK_COMPLETED]
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=worker),
            reason="by hand",
            workflow_task_finish_event_id=done[0] if first else done[-1],
            request_id=str(uuid4()),
        )
    )


@pytest.mark.parametrize(
    "first", [True, pytest.param(False, marks=pytest.mark.long)], ids=["first task", "last task"]
)
async def test_a_reset_worker_answers_as_before(first: bool) -> None:
    """Every worker of a metric in turn, and the catalog, between batches: all answers stay right."""
    cirr = metric(partitions=1)
    specs = all_workers(plan(cirr))
    events = sessions(keys=12, events_each=20)
    async with cluster() as client:
        await apply(client, cirr)
        cut = len(events) // (len(specs) + 2)
        for number, worker in enumerate([*(spec.worker_id for spec in specs), CATALOG_ID]):
            await feed(client, cirr, events[number * cut : (number + 1) * cut], batch=3)
            await until_everything_arrived(client, cirr, events[: (number + 1) * cut])
            await reset(client, worker, first=first)
        await feed(client, cirr, events[(len(specs) + 1) * cut :], batch=3)
        await until_everything_arrived(client, cirr, events)
        await assert_same_as_in_process(client, cirr, events)
        assert [entry.metric.name for entry in await ask.registered(client)] == ["cirr"]


async def test_what_reads_an_output_is_as_its_writer() -> None:
    """Its health and its answers name the worker of the other metric that has ended."""
    writer = metric("writer", BUFFERING.split("(", 1)[1][:-1], partitions=1)
    writer = writer.model_copy(update={"output": Output(topic="buffering")})
    reader = Metric(
        name="reader",
        source=Source(topic="buffering", changelog=True, partitions=1),
        expression="duration_where(changelog(boolean))",
    )
    result = all_workers(plan(reader))[-1].worker_id
    async with cluster() as client:
        for each in (writer, reader):
            await apply(client, each)
        ended = all_workers(plan(writer))[0].worker_id
        await end_by_hand(client, ended)
        [found] = await metric_health(client, ["reader"])
        assert found.state == "down"
        assert found.cause is not None
        assert f"metric writer, whose output it reads, is down: {ended}" in found.cause
        doubt = await beneath.doubt_about(client, plan(reader), [result])
        assert doubt is not None
        assert doubt.state == "down"
        assert "metric writer" in str(doubt)
