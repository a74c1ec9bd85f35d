"""Outputs on real servers: what is in the topic, late events and kills included, and metrics that read it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from typing import Any

import pulsar
import pytest
from temporalio.client import WorkflowFailureError, WorkflowQueryFailedError

from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.outputs.test_subscriber import folded
from timeline_workers.metric.model import Metric, Output, Source
from timeline_workers.plan.output_workers import output_workers
from timeline_workers.plan.physical import plan
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar
from timeline_workers.wire.changelog_messages import Change, Mark, read_message
from workflows.catalog.catalog_activities import remove_metric
from workflows.client.worker_health import examine

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("outputs"), broker=broker) as made:
        if broker is not None:  # keys are spread over the partitions, and watermarks go to each
            for topic in ("told-changes", "lower-changes", "load-changes"):
                broker.create_topic(topic, 3)
        made.start_worker()
        made.start_feeder()
        yield made


def metric(name: str, expression: str, *, topic: str = "", output: str = "", **source: Any) -> Metric:
    declared = {"topic": topic or f"{name}-events", "key": "id", "time": "t", "allowed_lateness": "10s"}
    return Metric(
        name=name,
        source=Source.model_validate({**declared, "columns": {"state": "string"}, **source}),
        expression=expression,
        output=Output(topic=output) if output else None,
    )


class Topic:
    """Everything in a changelog topic so far."""

    def __init__(self, stack: Stack, topic: str) -> None:
        self._client, self._topic = connect_pulsar(stack.addresses.pulsar, quiet=True), topic

    def read(self, function: str | None = None) -> list[Change | Mark]:
        # A new reader each time: of the embedded broker one that begins where nothing is hears nothing.
        reader, bodies = self._client.create_reader(self._topic, pulsar.MessageId.earliest), []
        with contextlib.suppress(pulsar.Timeout):
            while True:
                bodies.append(reader.read_next(300).data())
        reader.close()
        read = [read_message(body, "s", function) for body in bodies]
        return [one for one in read if one is not None]

    def close(self) -> None:
        self._client.close()


def pieces(topic: Topic, key: str) -> list[tuple[float, Any]]:
    """The pieces of a key in seconds, as a reader has them."""
    return [(at / 1_000_000, value[0]) for at, value in folded(topic.read()).get(key, [])]


async def test_a_topic_has_the_change_points_of_the_result(stack: Stack) -> None:
    """Late events correct it, a killed worker process loses and doubles nothing, deleting ends the writer."""
    told = metric("told", "latest_event_to_state(state)", output="told-changes", partitions=2)
    applied = await stack.apply(told)
    assert applied.outcome == "new"
    first = [event("a", 10, state="x"), event("b", 12, state="z"), event("a", 30, state="y")]
    stack.send("told-events", first)
    topic = Topic(stack, "told-changes")
    await eventually_async(lambda: len(pieces(topic, "a")) == 2 and len(pieces(topic, "b")) == 1)
    stack.stop("worker", signal.SIGKILL)
    stack.send("told-events", [event("a", 25, state="late")])
    stack.start_worker()
    expected = [(10, "x"), (25, "late"), (30, "y")]
    await eventually_async(lambda: pieces(topic, "a") == expected)
    read = topic.read()
    correction = [one for one in read if isinstance(one, Change) and one.value == "late"][-1]
    assert (correction.since, correction.until) == (25_000_000, 30_000_000)
    await eventually_async(lambda: any(isinstance(one, Mark) for one in topic.read()))
    assert max(one.watermark for one in topic.read() if isinstance(one, Mark)) == 20_000_000
    revisions: dict[Any, list[int]] = {}
    for one in topic.read():
        if isinstance(one, Change):
            revisions.setdefault(one.key, []).append(one.revision)
    assert all(found == sorted(found) for found in revisions.values())
    printed = await asyncio.to_thread(stack.run, "timeline_workers", "output", "told", "--key", "a")
    lines = [json.loads(line) for line in printed.stdout.splitlines()]
    assert {one["key"] for one in lines} == {"a"}
    assert {one["revision"] for one in lines} == set(revisions["a"])
    client = await stack.temporal()
    outputs = [spec.worker_id for spec in output_workers(plan(told))]
    assert [health.state for health in await examine(client, outputs)] == ["ok", "ok"]
    removed = await remove_metric(client, "told")
    assert set(outputs) <= set(removed.stopped)
    assert [health.state for health in await examine(client, outputs)] == ["down", "down"]
    topic.close()


async def test_a_metric_over_an_output_answers_like_one_expression(stack: Stack) -> None:
    """Late events included; final where what it reads is."""
    inner = 'latest_event_to_state(state) == "on"'
    lower = metric("lower", inner, output="lower-changes")
    whole = metric("whole", f"duration_where({inner})", topic="lower-events")
    log = Source.model_validate({"topic": "lower-changes", "changelog": True})
    upper = Metric(name="upper", source=log, expression="duration_where(changelog(boolean))")
    for one in (lower, whole, upper):
        await stack.apply(one)
    first = [event("a", 10, state="on"), event("b", 12, state="on"), event("a", 30, state="off")]
    stack.send("lower-events", first)

    async def same(keys: str, instants: range) -> bool:
        for key in keys:
            for at in instants:
                try:
                    found = await stack.ask(upper, key, "value_at", {"at": at})
                    expected = await stack.ask(whole, key, "value_at", {"at": at})
                except WorkflowQueryFailedError:
                    return False  # the key is not known yet
                if found != expected:
                    return False
        return True

    await eventually(lambda: same("ab", range(5, 40, 5)))
    stack.send("lower-events", [event("a", 25, state="off"), event("a", 27, state="on")])
    await eventually(lambda: asked(stack, whole, "a", 40, 18))
    await eventually(lambda: same("ab", range(5, 40, 1)))
    stack.send("lower-events", [event("b", 60, state="off")])
    await eventually(lambda: final(stack, upper, "a", 45))
    assert await same("ab", range(5, 80, 5))


async def asked(stack: Stack, metric: Metric, key: str, at: int, value: Any) -> bool:
    try:
        return bool((await stack.ask(metric, key, "value_at", {"at": at}))["value"] == value)
    except WorkflowQueryFailedError:
        return False  # the key is not known yet


async def final(stack: Stack, metric: Metric, key: str, at: int) -> bool:
    return bool((await stack.ask(metric, key, "value_at", {"at": at}))["final"])


async def eventually_async(check: Any) -> None:
    async def ask() -> bool:
        return bool(check())

    await eventually(ask)


async def test_an_aggregate_has_a_topic_and_a_reader(stack: Stack) -> None:
    """Each function has its writer; a killed worker process loses nothing, and a late event corrects."""
    load = metric(
        "load",
        'duration_where(latest_event_to_state(state) == "on") | aggregate(group_by(cdn), count, max)',
        output="load-changes",
        partitions=2,
        columns={"state": "string", "cdn": "string"},
    )
    log = Source.model_validate({"topic": "load-changes", "changelog": "max"})
    upper = Metric(name="longest", source=log, expression="changelog(numeric)")
    for one in (load, upper):
        await stack.apply(one)
    first = [
        event("a", 10, state="on", cdn="x"),
        event("b", 12, state="on"),
        event("c", 14, state="on", cdn="x"),
    ]
    stack.send("load-events", first)
    await eventually(lambda: asked(stack, upper, "x", 30, 20))
    await eventually(lambda: asked(stack, upper, "(null)", 30, 18))
    stack.stop("worker", signal.SIGKILL)
    stack.send("load-events", [event("a", 20, state="off", cdn="x")])
    stack.start_worker()
    await eventually(lambda: asked(stack, upper, "x", 30, 16))
    topic = Topic(stack, "load-changes")
    counts = folded(topic.read("count"))
    assert [(at / 1_000_000, value[0]) for at, value in counts["x"]] == [(10, 1), (14, 2)]
    assert counts["(null)"]
    topic.close()
    client = await stack.temporal()
    log = Source.model_validate({"topic": "load-changes", "changelog": True})
    with pytest.raises(WorkflowFailureError) as refused:
        await stack.apply(Metric(name="vague", source=log, expression="changelog(numeric)"))
    assert "has count, max of the aggregate" in repr(refused.value.cause)
    outputs = [spec.worker_id for spec in output_workers(plan(load))]
    assert len(outputs) == 2
    assert [health.state for health in await examine(client, outputs)] == ["ok", "ok"]
