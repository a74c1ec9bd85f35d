"""Health of workers: a fault is seen within ten seconds, with its cause."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.integration.stack import Stack, event, running_stack
from tests.web.serving import served
from tests.workflows.cluster import (
    TASK_QUEUE,
    apply,
    cluster,
    feed,
    metric,
    until_everything_arrived,
    worked_example,
)
from timeline_workers.cli.overview_command import overview
from timeline_workers.client import TimelineClient
from timeline_workers.errors import TimelineError
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import WorkerSpec, all_workers, plan
from timeline_workers.web.access import Access
from timeline_workers.web.site import Site
from timeline_workers.web.web_application import web_application
from timeline_workers.wire.encoding import pack as pack_message
from workflows.client import ask, worker_health
from workflows.client.conditions import feeding
from workflows.durable.inbox import pack
from workflows.messages import CarriedState, ProcessorInput
from workflows.worker_status import WorkerStatus

pytestmark = pytest.mark.integration

VISIBLE_SECONDS = 10.0
BUFFERING = metric("buffering", 'duration_where(latest_event_to_state(playerStateChange) == "buffer")', 1)
Row = dict[str, Any]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with running_stack(tmp_path / "data") as made:
        monkeypatch.setenv("TIMELINE_PULSAR_URL", made.addresses.pulsar)
        yield made


async def until(look: Callable[[], Awaitable[Row]], fits: Callable[[Row], bool]) -> Row:
    """Look until what is seen fits; AssertionError with the last look after ten seconds."""
    row: Row = {}
    try:
        async with asyncio.timeout(VISIBLE_SECONDS):
            while True:
                row = await look()
                if fits(row):
                    return row
    except TimeoutError:
        raise AssertionError(f"after {VISIBLE_SECONDS:.0f} s there is still only {row}") from None


async def seen(client: Client, state: str) -> Row:
    """The row of BUFFERING in `timeline get` once it has ``state``."""

    async def look() -> Row:
        rows, _ = await overview(TimelineClient(client), [BUFFERING.name])
        return rows[0]

    return await until(look, lambda row: row["state"] == state)


async def start_in_place_of(client: Client, spec: WorkerSpec, input: ProcessorInput, carried: bytes) -> None:
    """Start a worker by hand where the one of ``spec`` was."""
    await client.get_workflow_handle(spec.worker_id).terminate(reason="for the test")
    workflow = "EventProcessor" if spec.node.is_leaf else "TimelineProcessor"
    await client.start_workflow(workflow, args=[input, carried], id=spec.worker_id, task_queue=TASK_QUEUE)


async def test_unreadable_state_is_seen_with_its_cause(stack: Stack) -> None:
    """A worker whose carried state is of a later release fails its workflow task again and again: `timeline
    get` says which worker and why, and so does a question.
    """
    client = await stack.temporal()
    stack.start_worker()
    await apply(client, BUFFERING)
    result = all_workers(plan(BUFFERING))[-1]
    unreadable = pack([("state", pack_message({"version": 99, "worker": result.worker_id}))])
    await start_in_place_of(client, result, ProcessorInput(spec=result, runs=1), unreadable)
    row = await seen(client, "failing")
    assert result.worker_id in row["cause"]
    assert "carried state has version 99" in row["cause"]
    assert row["workers"] == "2/3"
    with pytest.raises(TimelineError, match=r"cannot answer.*version 99"):
        await ask.ask_worker(client, result.worker_id, "value_at", {"key": "s1", "at": 1})


async def test_missing_state_is_seen_with_its_cause(stack: Stack) -> None:
    """An activity that fails again and again is named with its error."""
    client = await stack.temporal()
    stack.start_worker()
    await apply(client, BUFFERING)
    leaf = all_workers(plan(BUFFERING))[0]
    gone = CarriedState(run_id="11111111-2222-3333-4444-555555555555", chunks=1, size=1)
    await start_in_place_of(client, leaf, ProcessorInput(spec=leaf, runs=1, carried=gone), b"")
    row = await seen(client, "failing")
    assert f"{leaf.worker_id}: its activity kept_state fails" in row["cause"]


async def test_an_ended_worker_and_its_edge_are_seen() -> None:
    """A worker terminated by hand is down with the reason; when its child has something to tell it, the edge
    is gone, and `timeline apply` mends both.
    """
    events = worked_example()
    async with cluster() as client:
        await apply(client, BUFFERING)
        _, child, result = all_workers(plan(BUFFERING))
        await client.get_workflow_handle(result.worker_id).terminate(reason="by mistake")
        row = await seen(client, "down")
        assert "terminated: by mistake" in row["cause"]
        await feed(client, BUFFERING, events)

        async def look() -> Row:
            [edge] = (await client.get_workflow_handle(child.worker_id).query("status"))["edges"]
            return dict(edge)

        assert (await until(look, lambda edge: edge["state"] == "gone"))["subscriber"] == result.worker_id
        await apply(client, BUFFERING)
        await until_everything_arrived(client, BUFFERING, events)
        assert (await seen(client, "ok"))["cause"] is None


def test_what_a_worker_says_of_itself_is_judged() -> None:
    """Being paused, lost archives, refused payloads and inputs that are not there each have a state and a
    cause.
    """
    well: Row = {
        "paused": None, "edges": [], "inputs": [], "refused": 0, "last_refusal": None, "ready": True,
        "archive_error": None, "archives_lost": [], "state": {},
    }  # fmt: skip
    assert worker_health.judge(WorkerStatus.model_validate(well)) == ("ok", None)
    assert worker_health.judge(WorkerStatus.model_validate({**well, "paused": "too large"})) == (
        "paused",
        "too large",
    )
    assert worker_health.judge(
        WorkerStatus.model_validate({**well, "refused": 2, "last_refusal": "nonsense"})
    ) == (
        "failing",
        "2 payloads refused; the last: nonsense",
    )
    waiting = {"worker": "w.p0", "subscribed": False, "last_error": None}
    assert worker_health.judge(
        WorkerStatus.model_validate({**well, "ready": False, "inputs": [waiting]})
    ) == (
        "subscribing",
        "subscribing to w.p0",
    )
    failing = {**waiting, "last_error": "not there"}
    assert worker_health.judge(WorkerStatus.model_validate({**well, "inputs": [failing]})) == (
        "failing",
        "not subscribed to w.p0: not there",
    )
    assert (
        worker_health.judge(WorkerStatus.model_validate({**well, "archives_lost": ["w.archive-0"]}))[0]
        == "failing"
    )


SOURCE = {"topic": "health", "key": "id", "time": "t", "columns": {"state": "string"}}
ON = Metric(
    name="on",
    source=Source.model_validate(SOURCE),
    expression='duration_where(latest_event_to_state(state) == "on")',
)


async def test_a_killed_process_and_missing_feeder_are_seen(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that wait because no feeder runs make a metric lag, and stall in the end; a worker process that
    was killed makes it down, also for the command line, which then ends with exit code 4. All go away with
    their cause.
    """
    client = await stack.temporal()

    async def look() -> Row:
        rows, _ = await overview(TimelineClient(client))
        return rows[0]

    stack.start_worker()
    await stack.apply(ON)
    stored = stack.send("health", [event("a", 1, state="on"), event("a", 5, state="off")])
    lagging = await until(look, lambda row: row["state"] == "lagging")
    assert "is the feeder running?" in lagging["cause"]
    assert lagging["lag"] > 0
    questions = ("timeline_workers", "query", "on", "--at", "3")
    unheard = await asyncio.to_thread(stack.run, *questions, "--key", "a")
    assert (unheard.returncode, unheard.stdout) == (5, "")
    error, warning = unheard.stderr.splitlines()
    assert error == "error: no key 'a': there are none, as there was no valid event"
    assert warning.startswith("warning: answers may be wrong or old: ")
    assert "an event of topic health has waited" in warning
    nothing = await asyncio.to_thread(stack.run, *questions, "--all")
    assert (nothing.returncode, nothing.stdout) == (5, "")
    assert "`python -m feeder`" in nothing.stderr
    monkeypatch.setattr(feeding, "STALLED_SECONDS", lagging["lag"])  # who would wait for half a minute
    stalled = await until(look, lambda row: row["state"] == "stalled")
    assert "no feeder runs" in stalled["cause"]
    stack.start_feeder()
    await stack.applied(ON, stored)
    row = await until(look, lambda row: row["state"] == "ok" and row["lag"] == 0)
    assert (row["keys"], row["late"], row["refused"]) == (1, 0, 0)
    unknown = await asyncio.to_thread(stack.run, *questions, "--key", "a", "--key", "b")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "error: no key 'b'; there are 'a'\n"

    stack.stop("worker", signal.SIGKILL)
    before = time.monotonic()
    told = await asyncio.to_thread(stack.run, "timeline_workers", "get", "-o", "json")
    assert time.monotonic() - before < 3 * VISIBLE_SECONDS  # a hang, not a slow machine
    assert told.returncode == 4
    assert '"state": "down"' in told.stdout
    assert '"metric": "on"' in told.stdout
    assert "no worker process answers" in told.stderr
    asked = await asyncio.to_thread(stack.run, "timeline_workers", "query", "on", "--key", "a", "--at", "1")
    assert (asked.returncode, asked.stdout) == (4, "")
    assert "error: no worker process answers; the last, " in asked.stderr
    stack.start_worker()
    await until(look, lambda row: row["state"] == "ok")


async def test_answers_without_a_feeder_are_in_doubt(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feeder that was stopped while events come: the command line, Python and REST say that what they
    answer is behind, and call nothing final, until a feeder has fed what waits.
    """
    client = TimelineClient(await stack.temporal())
    stack.start_worker()
    stack.start_feeder()
    await stack.apply(ON)
    times = ((1, "on"), (5, "off"), (10_000, "off"))
    await stack.applied(ON, stack.send("health", [event("a", t, state=state) for t, state in times]))

    async def query() -> Row:
        asked = ("timeline_workers", "query", "on", "--key", "a", "--at", "9")
        done = await asyncio.to_thread(stack.run, *asked)
        return {"code": done.returncode, "said": done.stderr, **json.loads(done.stdout)}

    well = await query()
    assert (well["code"], well["said"], well["value"], well["final"]) == (0, "", 4, True)
    assert "health" not in well
    stack.stop("feeder")
    stored = stack.send("health", [event("a", 10_001, state="on")])
    behind = await until(query, lambda row: row["code"] != 0)
    assert (behind["code"], behind["value"], behind["final"]) == (5, 4, False)
    assert behind["health"]["state"] == "lagging"
    assert "an event of topic health has waited" in behind["health"]["cause"]
    assert behind["said"].startswith(
        "warning: answers may be wrong or old: lagging: an event of topic health"
    )
    monkeypatch.setattr(feeding, "STALLED_SECONDS", feeding.LAG_SECONDS)  # who would wait for half a minute

    async def answer() -> Row:
        return (await client.value_at("on", "a", 9)).model_dump()

    stalled = await until(answer, lambda row: row.get("health", {}).get("state") == "stalled")
    assert "no feeder runs" in stalled["health"]["cause"]
    assert not stalled["final"]

    async def connect() -> TimelineClient:
        return client

    async with served(web_application(Site(connect, Access()))) as server:
        found = await server.get("/metrics/on/query", at=9, key="a")
    assert [one["state"] for one in found["doubts"]] == ["stalled"]
    assert not found["answers"][0]["final"]
    stack.start_feeder()
    await stack.applied(ON, stored)
    again = await until(query, lambda row: row["code"] == 0)
    assert (again["final"], "health" in again) == (True, False)
