"""Alert rules on real servers: what a target is told, late data, the clock and kills included."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from temporalio.client import Client

from tests.integration.stack import Stack, event, eventually, running_stack
from tests.workflows.sink_stand_in import messages_told, stand_ins, start_stand_in
from timeline_workers.alerts.alert_rule import Rule
from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.rule_files import load_rule
from timeline_workers.alerts.sink_messages import sink_id
from timeline_workers.client import TimelineClient
from timeline_workers.plan.alert_workers import alert_workers
from timeline_workers.plan.physical import plan
from timeline_workers.targets.target_files import load_target
from workflows.catalog.catalog_activities import remove_metric
from workflows.client.worker_health import examine

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("alerts")) as made:
        made.start_worker()
        made.start_feeder()
        yield made


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    stack.client = None  # that of another test's loop
    found = await stack.temporal()
    async with stand_ins(found):
        yield found


async def have_target(client: Client, name: str, partitions: Sequence[str] = ("p0",)) -> None:
    """A target, and stand-ins for its sinks."""
    await TimelineClient(client).apply_target(load_target({"kind": "target", "name": name, "what": "stdout"}))
    await start_stand_in(client, name, partitions)


def rule(name: str, expression: str, **more: Any) -> Rule:
    source = {"topic": f"{name}-events", "key": "id", "time": "t", "columns": {"state": "string"}}
    lateness = more.pop("allowed_lateness", "1m")
    return load_rule(
        {
            "kind": "alert",
            "name": name,
            "source": {**source, "allowed_lateness": lateness, **more.pop("source", {})},
            "expression": expression,
            "to": [f"{name}-pager"],
            **more,
        }
    )


def said(messages: list[Message], key: str) -> list[tuple[str, bool]]:
    return [(one.kind, one.page) for one in messages if one.key == key]


async def test_every_episode_is_told_and_corrected(stack: Stack, client: Client) -> None:
    """It fires, late data moves it and takes another away, and it is resolved; a muted key is not told."""
    stalled = rule(
        "stalled",
        'latest_event_to_state(state) == "bad"',
        **{"for": "2s", "as_of": "clock", "mute": [{"key": "test-*", "until": "2100-01-01T00:00:00Z"}]},
    )
    await have_target(client, "stalled-pager")
    applied = await stack.apply(stalled.metric)
    assert applied.outcome == "new"
    now = int(time.time())

    async def told(key: str, expected: list[tuple[str, bool]]) -> None:
        await eventually(lambda: _equals(client, "stalled-pager", key, expected))

    stack.send("stalled-events", [event("a", now - 20, state="bad"), event("test-1", now - 20, state="bad")])
    await told("a", [("fire", True)])
    stack.send("stalled-events", [event("a", now - 25, state="bad"), event("b", now - 10, state="bad")])
    await told("a", [("fire", True), ("moved", False)])
    await told("b", [("fire", True)])
    stack.send("stalled-events", [event("b", now - 9, state="good"), event("a", now - 5, state="good")])
    await told("b", [("fire", True), ("withdraw", False)])
    await told("a", [("fire", True), ("moved", False), ("resolve", False)])
    messages = await messages_told(client, "stalled-pager")
    last = [one for one in messages if one.key == "a"][-1]
    assert (last.start, last.end) == ((now - 23) * 1_000_000, (now - 5) * 1_000_000)
    assert last.episode == f"stalled/a/{(now - 18) * 1_000_000}"
    assert said(messages, "test-1") == []
    await asyncio.to_thread(_commands, stack)

    async def is_well() -> bool:
        return (await TimelineClient(client).describe_rule("stalled")).state == "ok"

    await eventually(is_well)
    (worker,) = [spec.worker_id for spec in alert_workers(plan(stalled.metric))]
    assert [health.state for health in await examine(client, [worker])] == ["ok"]
    removed = await remove_metric(client, "stalled")
    assert worker in removed.stopped


def _commands(stack: Stack) -> None:
    """What the command line says of the rule ``stalled``, of which only the muted key fires."""
    going_on = stack.run("timeline_workers", "alerts", "get")
    assert going_on.returncode == 0
    assert [line.split()[:2] for line in going_on.stdout.splitlines()[2:]] == [["stalled", "test-1"]]
    described = stack.run("timeline_workers", "alerts", "describe", "stalled", "a")
    assert described.returncode == 0
    assert 'rule stalled: held_for(latest_event_to_state(state) == "bad", 2s)' in described.stdout
    assert "tells stalled-pager, as of the clock, provisional" in described.stdout
    assert "muted: test-* until 2100-01-01T00:00:00Z" in described.stdout
    assert "fire (page)" in described.stdout
    assert max(map(len, described.stdout.splitlines())) <= 80
    found = stack.run("timeline_workers", "alerts", "history", "stalled", "--key", "b", "-o", "json")
    assert [json.loads(line)["kind"] for line in found.stdout.splitlines()] == ["fire", "withdraw"]
    until = "2100-01-01T00:00:00Z"
    muted = stack.run("timeline_workers", "alerts", "mute", "stalled", "--key", "b*", "--until", until)
    assert muted.returncode == 0, muted.stderr
    assert "muted: b* until" in stack.run("timeline_workers", "alerts", "describe", "stalled").stdout
    unknown = stack.run("timeline_workers", "alerts", "get", "stallt")
    assert unknown.returncode == 2
    assert "did you mean 'stalled'?" in unknown.stderr


async def test_kills_lose_and_double_nothing(stack: Stack, client: Client) -> None:
    """The worker process is killed again and again while episodes come and go, and runs end: each is told
    once, and what is sent again is the same."""
    told = rule("killed", 'latest_event_to_state(state) == "bad"', as_of="clock", source={"partitions": 2})
    await have_target(client, "killed-pager", ["p0", "p1"])
    await stack.apply(told.metric, continue_as_new_after=3)
    began = time.time()
    keys = [f"k{number}" for number in range(24)]
    for first in range(0, len(keys), 8):
        some = keys[first : first + 8]
        stack.send("killed-events", [event(key, began + first, state="bad") for key in some])
        stack.stop("worker", signal.SIGKILL)
        stack.send("killed-events", [event(key, began + first + 0.5, state="good") for key in some[::2]])
        stack.start_worker()

    async def all_messages() -> list[Message]:
        return [
            one
            for partition in ("p0", "p1")
            for one in await messages_told(client, "killed-pager", partition)
        ]

    over = keys[::2]

    async def everything() -> bool:
        last = {one.key: one for one in await all_messages()}
        ends = {key for key, one in last.items() if one.end is not None}
        return last.keys() == set(keys) and ends == set(over)

    await eventually(everything)
    messages = await all_messages()
    assert len({(one.episode, one.seq) for one in messages}) == len(messages)
    assert len({one.episode for one in messages}) == len(keys)
    paged = [one.episode for one in messages if one.page]
    assert len(paged) == len(set(paged))
    assert {one.key for one in messages if one.page} >= set(keys) - set(over)
    numbered: dict[tuple[str, int], Any] = {}
    for partition in ("p0", "p1"):
        for batch in await client.get_workflow_handle(sink_id("killed-pager", partition)).query("sent"):
            for place, one in enumerate(batch["messages"]):
                assert numbered.setdefault((batch["origin"], batch["sequence"] + place), one) == one


async def _equals(client: Client, target: str, key: str, expected: list[tuple[str, bool]]) -> bool:
    return said(await messages_told(client, target), key) == expected


async def test_what_ends_by_itself_is_told_in_its_time(stack: Stack, client: Client) -> None:
    """By the clock, and with no event: a timer is due when the window ends. The worker is killed before."""
    recent = rule("recent", 'has_existed_within(state == "bad", 6s)', as_of="clock")
    await have_target(client, "recent-pager")
    await stack.apply(recent.metric)
    now = time.time()
    stack.send("recent-events", [event("a", now, state="bad")])
    await eventually(lambda: _equals(client, "recent-pager", "a", [("fire", True)]))
    stack.stop("worker", signal.SIGKILL)
    stack.start_worker()
    await eventually(lambda: _equals(client, "recent-pager", "a", [("fire", True), ("resolve", False)]))
    assert time.time() >= now + 6
    last = (await messages_told(client, "recent-pager"))[-1]
    assert last.end is not None
    assert last.end - last.start == 6_000_000


async def test_the_watermark_tells_what_is_final(stack: Stack, client: Client) -> None:
    """Nothing is told before the watermark has passed it, and nothing is corrected."""
    final = rule("final", 'latest_event_to_state(state) == "bad"', when="final", allowed_lateness="2s")
    await have_target(client, "final-pager")
    await stack.apply(final.metric)
    now = int(time.time()) + 1
    stack.send("final-events", [event("a", now, state="bad"), event("a", now + 4, state="good")])
    stack.send("final-events", [event("a", now + 1, state="good"), event("a", now + 2, state="bad")])

    async def told() -> bool:
        stack.send("final-events", [event("b", time.time(), state="good")])  # the watermark goes on
        messages = await messages_told(client, "final-pager")
        return bool(messages) and messages[-1].end == (now + 4) * 1_000_000

    await eventually(told)
    messages = await messages_told(client, "final-pager")
    assert {one.kind for one in messages} <= {"fire", "resolve"}
    spans = [(one.start, one.end) for one in messages if one.kind == "resolve"]
    wanted = [(now, now + 1), (now + 2, now + 4)]
    assert spans == [(start * 1_000_000, end * 1_000_000) for start, end in wanted]
