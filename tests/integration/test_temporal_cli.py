"""The `timeline` command against a real Temporal dev server, with worker processes as users run them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.workflows.cluster import (
    TASK_QUEUE,
    assert_same_as_in_process,
    dev_server,
    feed,
    metric,
    sessions,
    until_everything_arrived,
    worked_example,
)
from timeline_workers.plan.physical import all_workers, plan
from workflows.client.ask import has_workers, worker_of

pytestmark = pytest.mark.integration

METRIC = """
name: {name}
source: {{topic: playback, key: session, time: t, partitions: 2}}
expression: |
  {expression}
"""


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs commands with the environment of a user who has set TEMPORAL_ADDRESS."""

    def __init__(self, client: Client, directory: Path) -> None:
        self.client = client
        self.directory = directory
        self.environment = {
            **os.environ,
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command,
            env=self.environment,
            cwd=self.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *command: str) -> Ran:
        process = await self.start(*command)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def timeline(self, *arguments: str) -> Ran:
        return await self.run(sys.executable, "-m", "timeline_workers", *arguments)

    def write_metric(self, name: str, expression: str) -> str:
        file = self.directory / f"{name}.yaml"
        file.write_text(METRIC.format(name=name, expression=expression.replace("\n", "\n  ")))
        return str(file)

    @contextlib.asynccontextmanager
    async def worker(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self.start(sys.executable, "-m", "timeline_workers", "worker", *arguments)
        try:
            while not await has_workers(self.client, TASK_QUEUE):
                assert process.returncode is None
                await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.communicate()


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    async with dev_server() as client:
        yield Shell(client, tmp_path)


async def test_a_metric_is_applied_asked_described_and_deleted(shell: Shell) -> None:
    """From `apply` to `delete`, with the worked example's answers from both the timeline and the temporal
    command.
    """
    cirr = metric()
    file = shell.write_metric("cirr", cirr.expression)
    async with shell.worker("--processes", "2"):
        applied = await shell.timeline("apply", file)
        assert applied.code == 0, applied.err
        total, result = len(all_workers(plan(cirr))), plan(cirr).result.name
        assert applied.out.splitlines() == [
            f"metric cirr is new: {total} workers started, 0 ran already",
            f"its result is in 2 workers, {result}.p0 and {result}.p1",
        ]
        again = await shell.timeline("apply", file, "-o", "json")
        assert again.err.startswith("metric cirr is unchanged: 0 workers started")
        assert again.rows[0]["outcome"] == "unchanged"
        assert again.rows[0]["text"].startswith("ok({event-processor-workers: [leaf-timeline(tl-")
        assert (again.rows[0]["started"], again.rows[0]["existing"]) == (0, len(all_workers(plan(cirr))))

        events = worked_example("s1")
        await feed(shell.client, cirr, events)
        await until_everything_arrived(shell.client, cirr, events)

        at = [argument for t in (10, 14, 19, 22, 45) for argument in ("--at", str(t))]
        asked = await shell.timeline("query", "cirr", "--key", "s1", *at)
        assert [row["value"] for row in asked.rows] == [0, 4, 4, 7, 7]
        assert asked.rows[1] == {
            "key": "s1",
            "at": 14,
            "value": 4,
            "since": 14,
            "until": 19,
            "slope": 0,
            "final": False,
        }
        changed = await shell.timeline("query", "cirr", "--all", "--change", "12", "20")
        assert [(row["key"], row["change"]) for row in changed.rows] == [("s1", 3)]
        spans = await shell.timeline(
            "query",
            "cirr",
            "--key",
            "s1",
            "--node",
            'latest_event_to_state(cdnChange) == "CDN1"',
            "--spans",
            "0",
            "60",
        )
        assert [(s["start"], s["end"]) for s in spans.rows[0]["spans"] if s["value"]] == [(1, 30)]

        worker = worker_of(plan(cirr), plan(cirr).result, "s1")
        temporal = await shell.run(
            str(shutil.which("temporal")), "workflow", "query", "--workflow-id", worker, "--type", "value_at",
            "--input", '{"key": "s1", "at": 22}', "--address", shell.environment["TEMPORAL_ADDRESS"],
            "--output", "json",
        )  # fmt: skip
        assert json.loads(temporal.out)["queryResult"][0]["value"] == 7

        listed = await shell.timeline("get", "-o", "json")
        (row,) = listed.rows
        assert {
            name: row[name] for name in ("metric", "state", "workers", "keys", "late", "refused", "cause")
        } == {
            "metric": "cirr",
            "state": "ok",
            "workers": f"{total}/{total}",
            "keys": 1,
            "late": 0,
            "refused": 0,
            "cause": None,
        }
        assert row["change_points"] > 0
        assert row["bytes"] > 0
        described = await shell.timeline("describe", "cirr")
        assert described.code == 0
        assert all(spec.worker_id in described.out for spec in all_workers(plan(cirr)))

        deleted = await shell.timeline("delete", "cirr", "-o", "json")
        assert len(deleted.rows[0]["stopped"]) == total
        gone = await shell.timeline("query", "cirr", "--key", "s1", "--at", "1")
        assert gone.code == 2
        assert "there is no metric 'cirr'" in gone.err


async def test_the_nodes_of_a_fused_worker_are_asked(shell: Shell) -> None:
    """`query --node`, `get`, `describe` and `delete` of a metric whose derived nodes share a worker."""
    cirr = metric().model_copy(update={"fuse": True})
    file = shell.write_metric("cirr", cirr.expression)
    with Path(file).open("a") as added:
        added.write("\nfuse: true\n")
    async with shell.worker():
        applied = await shell.timeline("apply", file)
        assert applied.code == 0, applied.err
        assert f"{plan(cirr).result.name}-fused.p0" in applied.out
        await feed(shell.client, cirr, worked_example("s1"))
        await until_everything_arrived(shell.client, cirr, worked_example("s1"))

        inner = next(node for node in plan(cirr).nodes if node.operator == "equal-to")
        names = [plan(cirr).result.name, inner.name, inner.expression]
        for name, value in zip(names, (7, False, False), strict=True):
            asked = await shell.timeline("query", "cirr", "--all", "--at", "45", "--node", name)
            assert [(row["key"], row["value"]) for row in asked.rows] == [("s1", value)]
        (row,) = (await shell.timeline("get", "-o", "json")).rows
        assert (row["state"], row["workers"], row["keys"]) == ("ok", "10/10", 1)
        described = await shell.timeline("describe", "cirr")
        assert all(node.name in described.out for node in plan(cirr).nodes)
        deleted = await shell.timeline("delete", "cirr", "-o", "json")
        assert len(deleted.rows[0]["stopped"]) == 10


async def test_mistakes_name_the_nearest_name(shell: Shell) -> None:
    """A misspelt metric, node or key, and a wrong expression, are each named with what was probably meant."""
    cirr = metric()
    file = shell.write_metric("cirr", cirr.expression)
    wrong = shell.write_metric("wrong", "duration_were(latest_event_to_state(a) == 1)")
    async with shell.worker():
        assert (await shell.timeline("apply", file)).code == 0
        events = worked_example("session-one")
        await feed(shell.client, cirr, events)
        await until_everything_arrived(shell.client, cirr, events)
        for arguments, said in {
            ("query", "cir", "--key", "session-one", "--at", "1"): "did you mean 'cirr'?",
            ("query", "cirr", "--key", "session-won", "--at", "1"): "session-won",
            (
                "query",
                "cirr",
                "--key",
                "session-one",
                "--at",
                "1",
                "--node",
                "tl-duration-were",
            ): "did you mean 'tl-duration-where",
            ("query", "cirr", "--at", "1"): "--all",
            ("query", "cirr", "--key", "session-one", "--at", "noon"): "'noon'",
            ("describe", "crr"): "did you mean 'cirr'?",
            ("delete", "crr"): "did you mean 'cirr'?",
            ("apply", wrong): "duration_where",
        }.items():
            ran = await shell.timeline(*arguments)
            assert (ran.code, ran.out) == (2, ""), arguments
            assert said in ran.err, ran.err
            assert "Traceback" not in ran.err


async def test_a_dry_run_lists_the_workers_without_a_server(tmp_path: Path) -> None:
    """`apply --dry-run` plans the metric and prints its workers, though no server is there."""
    cirr = metric()
    file = tmp_path / "cirr.yaml"
    file.write_text(METRIC.format(name="cirr", expression=cirr.expression.replace("\n", "\n  ")))
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "timeline_workers", "apply", str(file), "--dry-run", "-o", "json",
        env=environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert [json.loads(line)["worker_id"] for line in out.splitlines()] == [
        s.worker_id for s in all_workers(plan(cirr))
    ]


async def test_a_wrong_address_is_named_with_a_way_out(tmp_path: Path) -> None:
    """When no Temporal answers, the message names the address and how to start one; the exit code is 4."""
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "timeline_workers", "get",
        env=environment, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, out) == (4, b"")
    assert b"127.0.0.1:1" in err
    assert b"timeline dev" in err
    assert b"Traceback" not in err


async def test_a_killed_worker_process_loses_nothing(shell: Shell) -> None:
    """A worker killed in the middle of a stream and started again ends with the answers of evaluation in
    process.
    """
    cirr = metric()
    events = sessions(keys=8, events_each=40)
    half = len(events) // 2
    async with shell.worker() as process:
        assert (await shell.timeline("apply", shell.write_metric("cirr", cirr.expression))).code == 0
        await feed(shell.client, cirr, events[:half], batch=10)
        process.kill()
    await feed(shell.client, cirr, events[half:], batch=10)
    async with shell.worker():
        await until_everything_arrived(shell.client, cirr, events)
        await assert_same_as_in_process(shell.client, cirr, events)


async def test_a_worker_stops_cleanly_when_told_to(shell: Shell) -> None:
    """SIGTERM ends a worker and its processes with exit code 0."""
    async with shell.worker("--processes", "2") as process:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
