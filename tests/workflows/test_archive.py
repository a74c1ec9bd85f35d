"""Keys that are idle leave the workers for archives, stay answerable there, and come back with an event, on a
real Temporal server."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

import timeline_workers
from tests.oracle.events import Event
from tests.workflows.cluster import (
    CIRR,
    SECOND,
    cluster,
    leaf_payloads,
    result_workers,
    status,
    worked_example,
)
from tests.workflows.test_replay import replayer
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.errors import QuestionError
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import all_workers, plan
from timeline_workers.runtime import eviction
from workflows.archive.archive_activities import archive_id
from workflows.client import ask
from workflows.client.conditions import metric_health
from workflows.durable import carry

pytestmark = pytest.mark.integration


def bounded(expression: str = CIRR, **fields: Any) -> Metric:
    source = Source.model_validate({"topic": "playback", "key": "session", "time": "t", "partitions": 1})
    return Metric(name="bounded", source=source, expression=expression, **{"key_ttl": "60s", **fields})


class Feed:
    """Feeds a metric's leaves, and knows what it has fed. Times are seconds."""

    def __init__(self, client: Client, applied: Metric) -> None:
        self.client, self.applied = client, applied
        self.events: list[Event] = []
        self.position = 0

    async def __call__(self, *events: tuple[str, float, str, str], watermark: float) -> None:
        """``send``, and wait until the result workers know of it."""
        await self.send(*events, watermark=watermark)
        await self.until_everything_arrived()

    async def send(self, *events: tuple[str, float, str, str], watermark: float) -> None:
        """Feed (key, time, column, value) rows, after which the source's watermark is ``watermark``."""
        fed = []
        for key, time, column, value in events:
            self.position += 1
            fed.append(Event(key, int(time * SECOND), (0, 0, self.position), {column: value}))
        self.position += 1
        self.events += fed
        progress = (Progress(0, 0, self.position, int(watermark * SECOND)),)
        for spec, payload in leaf_payloads(self.applied, fed, progress):
            await self.client.get_workflow_handle(spec.worker_id).signal("complete")
            await self.client.get_workflow_handle(spec.worker_id).signal("ingest", payload)

    async def until_everything_arrived(self) -> None:
        """Wait until the result workers know all that was sent."""
        for worker in result_workers(self.applied):
            while not any(p["minor"] == self.position for p in await self._progress(worker)):
                await asyncio.sleep(0.02)  # between two looks; the loop ends by what it sees

    async def _progress(self, worker: str) -> list[dict[str, Any]]:
        state = (await status(self.client, worker))["state"]
        return list(state["progress"]) if state else []

    async def until_everywhere(self, archived: int) -> None:
        """Let the source be silent until ``archived`` keys are away from every worker."""
        workers = [spec.worker_id for spec in all_workers(plan(self.applied))]
        mark = max(e.time for e in self.events) / SECOND + 1_000
        while True:
            away = [(await status(self.client, worker))["archived_keys"] for worker in workers]
            if min(away) >= archived:
                return
            mark += 1
            await self(watermark=mark)

    async def assert_answers(self, instants: Sequence[int], query: str = "value_at") -> None:
        """Every key's answers are those of evaluation in process, whoever gives them, also a worker that says
        that it takes nothing more.
        """
        rows = [{"session": e.key, "t": e.time, **e.columns} for e in self.events]
        right = timeline_workers.evaluate(
            self.applied.expression, rows, key="session", time="t", time_unit="us"
        )
        planned = plan(self.applied)
        questions = [{"at": at * SECOND, "unit": "us"} for at in instants]
        answers = [a async for a in ask.ask(self.client, planned, planned.result, query, questions)]
        assert len(answers) == len(instants) * len({e.key for e in self.events})
        for answer in answers:
            expected = right.value_at(answer["key"], answer["at"]).model_dump()
            assert answer.pop("health", {"state": "paused"})["state"] == "paused"
            assert {**answer, "final": None} == {**expected, "final": None}


def example(key: str, at: float = 0) -> list[tuple[str, float, str, str]]:
    rows = []
    for event in worked_example():
        ((column, value),) = event.columns.items()
        rows.append((key, at + event.time / SECOND, column, str(value)))
    return rows


async def runs_of(client: Client, workflow_id: str) -> AsyncIterator[str]:
    async for found in client.list_workflows(f'WorkflowId = "{workflow_id}"'):
        yield found.run_id


@pytest.mark.parametrize("cached", [1000, pytest.param(0, marks=pytest.mark.long)])
async def test_idle_keys_leave_are_answered_for_and_come_back(cached: int) -> None:
    """After key_ttl a session is in the archives of every worker, and final; with an event it goes on exactly
    where it was; the archives end with the metric; and all of it replays."""
    metric = bounded()
    async with cluster(cached) as client:
        await ask.apply(client, metric, continue_as_new_after=2)
        feed = Feed(client, metric)
        await feed(*example("s1"), watermark=45)
        await feed(*example("s2", 10), watermark=55)
        await feed.until_everywhere(archived=2)
        (result,) = result_workers(metric)
        now = await status(client, result)
        assert (now["archives"], now["archived_keys"], now["state"]["keys"]) == (1, 2, 0)
        await feed.assert_answers([0, 9, 10, 14, 19, 22, 45, 55, 1_000])

        # The same from Temporal's own command line, at the archive and, in words, at the worker.
        answer = await temporal_query(client, archive_id(result, 0), {"key": "s1", "at": 22})
        assert (answer["value"], answer["since"], answer["final"]) == (7, 22, True)
        with pytest.raises(QuestionError, match=rf"no key 's1'.* may have left for {result}\.archive-0"):
            await ask.ask_worker(client, result, "value_at", {"key": "s1", "at": 22})

        # Nobody watched s1 for long; now it buffers again on the first CDN, and the seconds add up.
        mark = (await status(client, result))["state"]["watermark"] / SECOND
        rows = [("s1", mark, "cdnChange", "CDN1"), ("s1", mark + 1, "playerStateChange", "buffer")]
        await feed(*rows, watermark=mark)
        await feed(("s1", mark + 6, "playerStateChange", "play"), watermark=mark)
        assert (await ask.ask_worker(client, result, "value_at", {"key": "s1", "at": mark + 9}))[
            "value"
        ] == 12
        await feed.assert_answers([10, 22, 45, int(mark) + 1, int(mark) + 4, int(mark) + 60])
        now = await status(client, result)
        assert (now["archived_keys"], now["state"]["keys"]) == (1, 1)
        await feed.until_everywhere(archived=2)
        await feed.assert_answers([10, 22, 45, int(mark) + 1, int(mark) + 4, int(mark) + 60])

        # Who applies another metric over the same workers is told that it will miss keys.
        other = bounded(expression="!(" + CIRR.split("(", 1)[1]).model_copy(update={"name": "other"})
        applied = await ask.apply(client, other)
        shared = [spec.worker_id for spec in all_workers(plan(metric))]
        assert applied.departed
        assert set(applied.departed) <= set(shared)
        await ask.delete(client, other.name)

        workers = [spec.worker_id for spec in all_workers(plan(metric))]
        archives = [archive_id(worker, 0) for worker in workers]
        await ask.delete(client, metric.name)
        for archive in archives:
            described = await client.get_workflow_handle(archive).describe()
            assert described.status is WorkflowExecutionStatus.COMPLETED
        replayed = 0
        for workflow_id in [*workers, *archives]:
            async for run in runs_of(client, workflow_id):
                history = await client.get_workflow_handle(workflow_id, run_id=run).fetch_history()
                await replayer().replay_workflow(history)
                replayed += 1
        assert replayed > len(workers) + len(archives)


async def temporal_query(client: Client, workflow_id: str, question: dict[str, Any]) -> dict[str, Any]:
    temporal = shutil.which("temporal")
    assert temporal is not None
    process = await asyncio.create_subprocess_exec(
        temporal,
        *("workflow", "query", "--workflow-id", workflow_id, "--type", "value_at", "-o", "json"),
        *("--input", json.dumps(question), "--address", client.service_client.config.target_host),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(output)["queryResult"][0]
    return answer


LEAF = "latest_event_to_state(playerStateChange)"


async def test_an_archive_carries_its_keys_from_run_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large they are, and whatever is asked and stored meanwhile; the worker finds its keys in the
    newest of several archives."""
    monkeypatch.setattr(carry, "INLINE_STATE_BYTES", 0)
    monkeypatch.setattr(carry, "STATE_PART_BYTES", 200)
    monkeypatch.setattr(eviction, "ARCHIVE_KEYS", 2)
    metric = bounded(LEAF)
    async with cluster() as client:
        await ask.apply(client, metric, continue_as_new_after=1)
        (worker,) = result_workers(metric)
        feed = Feed(client, metric)
        for round_ in range(3):
            start = 10_000 * (round_ + 1)
            rows = [(f"s{i}", start + i, "playerStateChange", f"{round_}-{i}") for i in range(3)]
            await feed(*rows, watermark=start)
            await feed.until_everywhere(archived=3)
            for number in range((await status(client, worker))["archives"]):
                await client.get_workflow_handle(archive_id(worker, number)).signal("continue_as_new")
        now = await status(client, worker)
        assert now["archives"] > 1
        assert now["archives_lost"] == []
        await feed.assert_answers([9_999, 10_001, 20_001, 30_001, 40_000])
        first = await status(client, archive_id(worker, 0))
        assert first["runs"] > 0
        assert first["refused"] == 0
        async for run in runs_of(client, archive_id(worker, 0)):
            history = await client.get_workflow_handle(archive_id(worker, 0), run_id=run).fetch_history()
            await replayer().replay_workflow(history)


async def test_a_lost_archive_does_not_stop_the_worker() -> None:
    """While the server keeps its history, its keys come back all the same; when that is gone they begin anew.
    Keys that leave later have another archive, and the status names the one that was lost."""
    metric = bounded(LEAF)
    async with cluster() as client:
        await ask.apply(client, metric, continue_as_new_after=1)
        (worker,) = result_workers(metric)
        feed = Feed(client, metric)
        await feed(("s1", 10, "playerStateChange", "play"), watermark=10)
        await feed(("s2", 10, "playerStateChange", "play"), watermark=10)
        await feed.until_everywhere(archived=2)
        first, second = archive_id(worker, 0), archive_id(worker, 1)
        assert "failing" not in [c.state for h in await metric_health(client) for c in h.conditions]
        await client.get_workflow_handle(first).terminate("for the test")
        [health] = await metric_health(client)  # before the worker misses it
        assert [(c.state, c.worker) for c in health.conditions if first in c.cause] == [("failing", worker)]
        mark = (await status(client, worker))["state"]["watermark"] / SECOND
        await feed(("s1", mark + 5, "playerStateChange", "pause"), watermark=mark)
        answer = await ask.ask_worker(client, worker, "value_at", {"key": "s1", "at": 20})
        assert (answer["value"], answer["since"], answer["final"]) == ("play", 10, True)
        await feed.until_everywhere(archived=2)
        now = await status(client, worker)
        assert (now["archives"], now["archives_lost"]) == (2, [first])
        assert (await status(client, second))["state"]["keys"] == 1

        await client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=first)
            )
        )
        while await exists(client, first):
            await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
        mark = (await status(client, worker))["state"]["watermark"] / SECOND
        await feed(("s2", mark + 5, "playerStateChange", "init"), watermark=mark)
        answer = await ask.ask_worker(client, worker, "value_at", {"key": "s2", "at": mark + 5})
        assert (answer["value"], answer["since"]) == ("init", mark + 5)


async def exists(client: Client, workflow_id: str) -> bool:
    try:
        await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def test_an_archive_refuses_to_be_cancelled() -> None:
    """It answers and goes on in another run, and ends with its metric."""
    metric = bounded()
    async with cluster() as client:
        await ask.apply(client, metric, continue_as_new_after=2)
        feed = Feed(client, metric)
        await feed(*example("s1"), watermark=45)
        await feed.until_everywhere(archived=1)
        archive = client.get_workflow_handle(archive_id(result_workers(metric)[0], 0))
        await archive.cancel()
        await feed.assert_answers([0, 19, 45])
        await archive.signal("continue_as_new")
        while (await archive.query("status"))["runs"] == 0:
            await asyncio.sleep(0.02)  # between two looks; the loop ends by what it sees
        await archive.cancel()
        await feed.assert_answers([0, 19, 45])
        await ask.delete(client, metric.name)
        assert (await archive.describe()).status is WorkflowExecutionStatus.COMPLETED
