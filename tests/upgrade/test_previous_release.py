"""A graph that a previous release has begun, with its own worker and feeder, is finished by this one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from producer.disorder import duplicate, shuffle
from producer.event import Event
from producer.generate_playback import sessions
from producer.send import Stored
from tests.integration.answers import Question, answers, evaluated
from tests.integration.stack import Stack, event, eventually, running_stack
from timeline_workers.cli.dev import environment_of
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import all_workers, plan
from timeline_workers.settings.timeline_settings import Settings
from workflows.client import ask, worker_health
from workflows.client.conditions import metric_health
from workflows.client.rollout import rollout
from workflows.durable.activities import signal_worker

pytestmark = pytest.mark.integration

RELEASES = Path(__file__).parent / "releases"
EARLIER, PREVIOUS = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0"), "0.6.0"
NAMED_BY_RULES_1 = ("0.1.0", "0.2.0", "0.3.0")
SECOND = 1_000_000
CIRR = """duration_where(
    latest_event_to_state(playerStateChange) == "buffer" && has_existed(playerStateChange == "play")
    && !has_existed_within(userAction == "seek", 5s) && latest_event_to_state(cdnChange) == "CDN1")"""
EXPRESSIONS = {
    "cirr": CIRR,
    "plays": 'event_count_within(playerStateChange == "play", 1m)',
    "by-cdn": 'latest_event_to_state(playerStateChange) == "play" | aggregate(group_by(cdnChange), sum)',
}


SOURCE = {
    "topic": "upgrade",
    "key": "session_id",
    "time": "timestamp",
    "columns": {"playerStateChange": "string", "userAction": "string", "cdnChange": "string"},
    "allowed_lateness": "1h",
    "partitions": 2,
}
EVENTS = list(duplicate(shuffle(list(sessions(30, 2_400, seed=3)), 60.0, seed=3), 0.05, seed=3))


def questions() -> list[Question]:
    times = [round(event.time * SECOND) for event in EVENTS]
    low, high = min(times), max(times)
    at = list(range(low - SECOND, high + 90 * SECOND, (high - low) // 25))
    whole = {"start": low - SECOND, "end": high + 90 * SECOND}
    return [("value_at", {"at": at}), ("spans", whole), ("change", whole)]


@pytest.fixture(scope="module")
def previous(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of the previous release, or of another that the test names."""
    release = getattr(request, "param", PREVIOUS)
    folder = tmp_path_factory.mktemp("release") / release
    (wheel,) = RELEASES.glob(f"*-{release}-*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(folder), str(wheel)], check=True)
    return folder


@pytest.fixture
def metrics(previous: Path) -> list[Metric]:
    """The metrics as the catalog has them: with the names that the previous release gave their workers."""
    naming = 1 if previous.name in NAMED_BY_RULES_1 else 2
    return [
        Metric.model_validate({"name": name, "source": SOURCE, "expression": expression, "naming": naming})
        for name, expression in EXPRESSIONS.items()
    ]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path / "data") as made:
        yield made


def start_previous(stack: Stack, folder: Path, name: str, *arguments: str) -> None:
    """Run ``python -m ARGUMENTS`` of the previous release as ``name``."""
    with (stack.logs / f"{name}.log").open("ab") as log:
        stack.processes[name] = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**os.environ, **environment_of(stack.addresses), "PYTHONPATH": str(folder)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def apply_with_previous(stack: Stack, folder: Path) -> None:
    for name, expression in EXPRESSIONS.items():
        file = stack.logs / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"name": name, "source": SOURCE, "expression": expression}))
        start_previous(stack, folder, f"apply-{name}", "timeline_workers", "apply", str(file))
    for name in EXPRESSIONS:
        assert stack.processes.pop(f"apply-{name}").wait(60) == 0, stack.log(f"apply-{name}")


async def drill(stack: Stack, metrics: Sequence[Metric]) -> None:
    """Have every worker continue as new, as it will do one day by itself, and wait until it has."""
    client = await stack.temporal()
    workers = [spec.worker_id for one in metrics for spec in all_workers(plan(one))]
    runs = {w: (await client.get_workflow_handle(w).describe()).run_id for w in workers}
    for worker in runs:
        assert await signal_worker(client, worker, "continue_as_new")

    async def continued() -> bool:
        now = [(await client.get_workflow_handle(w).describe()).run_id for w in runs]
        return all(new != old for new, old in zip(now, runs.values(), strict=True))

    await eventually(continued)


async def arrived(stack: Stack, metrics: Sequence[Metric], stored: Stored, within: float = 60.0) -> None:
    """Wait until the results of every metric have what the broker has stored."""
    client = await stack.temporal()
    results = [
        s.worker_id for m in metrics for s in all_workers(plan(m)) if s.node.name == plan(m).result.name
    ]

    async def has_all(worker: str) -> bool:
        state = ((await ask.worker_status(client, worker))["status"] or {}).get("state") or {}
        reached = {p["partition"]: (p["major"], p["minor"]) for p in state.get("progress", [])}
        return all(reached.get(p, (-1, -1)) >= at for p, at in stored.last.items())

    async def all_have() -> bool:
        return all([await has_all(worker) for worker in results])

    await eventually(all_have, within)


async def assert_right(stack: Stack, metrics: Sequence[Metric], sent: Sequence[Event]) -> None:
    """Every answer of every metric is that of evaluation in process over the events sent so far."""
    rows = [json.loads(event.payload) for event in sent]
    for row in rows:
        row["timestamp"] = round(row["timestamp"] * SECOND)
    client = await stack.temporal()
    for one in metrics:
        found = await answers(client, one, questions())
        assert len(found) > 50
        assert found == evaluated(one, rows, questions())


async def assert_well(stack: Stack, metrics: Sequence[Metric]) -> None:
    """No worker has refused anything, and none is failing."""
    client = await stack.temporal()
    for one in metrics:
        workers = [spec.worker_id for spec in all_workers(plan(one))]
        async with asyncio.timeout(60):  # on a machine with much to do some are busy at first
            found = await worker_health.examine(client, workers)
            while any(h.state == "busy" for h in found):
                found = await worker_health.examine(client, workers)
        assert [(h.worker_id, h.state, h.cause) for h in found if h.state != "ok"] == []


async def processes_that_worked(stack: Stack) -> set[str]:
    """The worker processes that have done workflow tasks of timeline workers."""
    client = await stack.temporal()
    identities: set[str] = set()
    async for run in client.list_workflows("WorkflowType IN ('EventProcessor', 'TimelineProcessor')"):
        history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        done = [event.workflow_task_completed_event_attributes.identity for event in history.events]
        identities.update(identity for identity in done if identity)
    return identities


def parts(count: int) -> list[list[Event]]:
    size = -(-len(EVENTS) // count)
    return [EVENTS[start : start + size] for start in range(0, len(EVENTS), size)]


@pytest.mark.parametrize(
    "previous", [pytest.param(one, marks=pytest.mark.long) for one in EARLIER] + [PREVIOUS], indirect=True
)
async def test_a_graph_of_the_previous_release_is_finished(
    stack: Stack, previous: Path, metrics: list[Metric]
) -> None:
    """Its workers, fed half of the events and carried to new runs by the previous release, go on with this
    release's worker and feeder: every answer is right before and after, also of what was sent in between,
    and this release's client can ask either.
    """
    first, second, between, last = parts(4)
    start_previous(stack, previous, "worker-before", "timeline_workers", "worker")
    apply_with_previous(stack, previous)
    start_previous(stack, previous, "feeder-before", "feeder")
    await arrived(stack, metrics, stack.send("upgrade", first))
    await drill(stack, metrics)
    await arrived(stack, metrics, stack.send("upgrade", second))
    await assert_right(stack, metrics, [*first, *second])
    await assert_well(stack, metrics)
    stack.stop("feeder-before")
    stack.stop("worker-before", signal.SIGKILL)

    stored = stack.send("upgrade", between)
    stack.start_worker()
    stack.start_feeder()
    await arrived(stack, metrics, stored)
    await assert_right(stack, metrics, [*first, *second, *between])
    await drill(stack, metrics)
    await arrived(stack, metrics, stack.send("upgrade", last))
    await drill(stack, metrics)
    await assert_right(stack, metrics, EVENTS)
    await assert_well(stack, metrics)


async def test_a_build_takes_over_from_the_previous_release(
    stack: Stack, previous: Path, metrics: list[Metric]
) -> None:
    """With versioned processes nothing stops: this release's build becomes current while the previous
    release's worker and feeder run, and every worker has moved when those are stopped.
    """
    first, second, third, last = parts(4)
    start_previous(stack, previous, "worker-before", "timeline_workers", "worker")
    apply_with_previous(stack, previous)
    start_previous(stack, previous, "feeder-before", "feeder")
    await arrived(stack, metrics, stack.send("upgrade", first))

    stack.start("worker", "timeline_workers", "worker", "--deployment-name", "timeline", "--build-id", "next")
    stored = stack.send("upgrade", second)
    client = await stack.temporal()
    moved = await rollout(client, Settings(deployment_name="timeline", build_id="next"))
    assert moved.moved == len({s.worker_id for m in metrics for s in all_workers(plan(m))})
    await arrived(stack, metrics, stored)
    await assert_right(stack, metrics, [*first, *second])
    stack.stop("worker-before")
    await arrived(stack, metrics, stack.send("upgrade", third))
    stack.stop("feeder-before")
    stored = stack.send("upgrade", last)
    stack.start_feeder()
    await arrived(stack, metrics, stored)
    await assert_right(stack, metrics, EVENTS)
    await assert_well(stack, metrics)


async def test_unversioned_workers_of_both_releases_at_once_lose_nothing(
    stack: Stack, previous: Path, metrics: list[Metric]
) -> None:
    """Side by side on one task queue, each takes up what the other began or leaves it to the other; both
    have worked, and once the previous release is gone, every answer is right.
    """
    first, second, third, last = parts(4)
    start_previous(stack, previous, "worker-before", "timeline_workers", "worker")
    apply_with_previous(stack, previous)
    start_previous(stack, previous, "feeder-before", "feeder")
    await arrived(stack, metrics, stack.send("upgrade", first))
    stack.start_worker()
    stack.send("upgrade", second)
    client = await stack.temporal()
    for one in metrics:
        for spec in all_workers(plan(one)):
            await signal_worker(client, spec.worker_id, "continue_as_new")
    stack.send("upgrade", third)
    stack.stop("feeder-before")
    stack.start_feeder()
    stored = stack.send("upgrade", last)
    stack.stop("worker-before")
    await arrived(stack, metrics, stored, within=120.0)
    assert len(await processes_that_worked(stack)) == 2
    await assert_right(stack, metrics, EVENTS)
    await assert_well(stack, metrics)


@pytest.mark.parametrize("previous", NAMED_BY_RULES_1[-1:], indirect=True)
async def test_metrics_that_decide_for_each_other_are_named(stack: Stack, previous: Path) -> None:
    """Under the names of the previous release two metrics share a leaf though one refuses what the other
    accepts. They go on so on this release, which names both; applied again, each answers as it would alone.
    """
    columns: dict[str, dict[str, str]] = {
        "lax": {"status": "string"},
        "strict": {"status": "string", "power": "float"},
    }
    expression = 'duration_where(latest_event_to_state(status) == "on")'
    source = {"topic": "chargers", "key": "id", "time": "t", "allowed_lateness": "1s"}
    definitions = {
        name: {"name": name, "source": {**source, "columns": declared}, "expression": expression}
        for name, declared in columns.items()
    }
    start_previous(stack, previous, "worker-before", "timeline_workers", "worker")
    start_previous(stack, previous, "feeder-before", "feeder")
    for name, definition in definitions.items():
        file = stack.logs / f"{name}.yaml"
        file.write_text(yaml.safe_dump(definition))
        start_previous(stack, previous, f"apply-{name}", "timeline_workers", "apply", str(file))
        assert stack.processes.pop(f"apply-{name}").wait(60) == 0, stack.log(f"apply-{name}")
    stored = stack.send(
        "chargers",
        [
            event("a", 0, status="on", power=1),
            event("a", 10, status="off", power="n/a"),
            event("a", 20, status="off", power=1),
            event("a", 100, status="off", power=1),
        ],
    )
    old = {name: Metric.model_validate({**d, "naming": 1}) for name, d in definitions.items()}
    assert plan(old["lax"]).nodes == plan(old["strict"]).nodes
    await stack.applied(old["lax"], stored)
    stack.stop("feeder-before")
    stack.stop("worker-before")

    stack.start_worker()
    stack.start_feeder()
    client = await stack.temporal()

    async def worker_answers() -> bool:
        with suppress(ConnectionFailedError):
            return bool(await metric_health(client))
        return False

    await eventually(worker_answers)
    for health_of_one in await metric_health(client):
        (other,) = {"lax", "strict"} - {health_of_one.metric}
        assert any(f"shares event processors with {other}" in str(n) for n in health_of_one.notices)
    again = {name: Metric.model_validate(definition) for name, definition in definitions.items()}
    assert not {n.name for n in plan(again["lax"]).nodes} & {n.name for n in plan(again["strict"]).nodes}
    # The workers that both needed end with the second.
    stopped = [len((await stack.apply(metric)).stopped) for metric in again.values()]
    assert stopped == [0, len(plan(old["lax"]).nodes)]
    for name, value in (("lax", 10), ("strict", 20)):
        await stack.applied(again[name], stored)
        assert (await stack.ask(again[name], "a", "value_at", {"at": 30}))["value"] == value
    for health_of_one in await metric_health(client):
        assert not any("shares event processors" in str(n) for n in health_of_one.notices)
