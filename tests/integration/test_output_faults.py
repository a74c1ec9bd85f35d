"""Outputs on real servers while things go wrong: a process that is killed while it publishes, writers that
begin new runs and new epochs under load, and more keys than one batch can name.
"""

from __future__ import annotations

import random
import signal
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import timeline_workers
from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.integration.test_outputs import Topic, eventually_async, metric, pieces
from tests.outputs.test_subscriber import folded, value_at
from tests.workflows.cluster import end_by_hand
from timeline_workers.metric.model import Metric
from timeline_workers.plan.output_workers import OutputSpec, output_workers
from timeline_workers.plan.physical import plan
from workflows.client.ask import ask_worker
from workflows.client.worker_health import examine

pytestmark = pytest.mark.integration

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("output-faults"), broker=broker) as made:
        made.start_feeder()
        yield made


@pytest.fixture
def deduplication(broker: Broker | None, request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether topics that are made now store a message once, by its producer's name and its sequence id."""
    wanted: bool = request.param
    if wanted and broker is None:
        pytest.skip("the embedded broker does not deduplicate")
    if broker is not None:
        broker.admin("POST", "namespaces/public/default/deduplication", wanted)
    yield wanted
    if broker is not None:
        broker.admin("DELETE", "namespaces/public/default/deduplication")


def writers(told: Metric) -> list[OutputSpec]:
    return output_workers(plan(told))


async def idle(stack: Stack, told: Metric, least: int = 0) -> bool:
    """Whether its writers have published all they know, and at least so many messages each."""
    client = await stack.temporal()
    found = [await ask_worker(client, spec.worker_id, "status") for spec in writers(told)]
    return all(not s["telling"] and not s["inbox"] and s["published"] >= least for s in found)


async def runs(stack: Stack, writer: str) -> int:
    return int((await ask_worker(await stack.temporal(), writer, "status"))["runs"])


async def has_begun_anew(stack: Stack, writer: str, before: int) -> bool:
    return await runs(stack, writer) > before


@pytest.mark.parametrize("deduplication", [False, True], indirect=True, ids=["", "deduplicating"])
async def test_a_process_killed_while_publishing_loses_nothing(
    stack: Stack, deduplication: bool, tmp_path: Path
) -> None:
    """After the broker has stored a batch, before the activity is completed: the batch is there twice, the
    same, and once where the broker deduplicates.
    """
    name, marker = f"killed-{deduplication}".lower(), tmp_path / "die"
    told = metric(name, "latest_event_to_state(state)", output=f"{name}-changes")
    dying = stack.start("dying", "tests.integration.dying_publisher", str(marker))
    await stack.apply(told)
    stack.send(f"{name}-events", [event("a", 10, state="x"), event("b", 12, state="z")])
    topic = Topic(stack, f"{name}-changes")
    await eventually_async(lambda: pieces(topic, "a") == [(10, "x")] and pieces(topic, "b") == [(12, "z")])
    marker.touch()
    stack.send(f"{name}-events", [event("a", 30, state="y"), event("a", 25, state="late")])
    await eventually_async(lambda: dying.poll() is not None)
    assert dying.returncode == -signal.SIGKILL
    assert pieces(topic, "a")[-1] == (30, "y")  # it was stored
    stack.send(f"{name}-events", [event("b", 20, state="after")])
    stack.start_worker()
    await eventually_async(lambda: pieces(topic, "b") == [(12, "z"), (20, "after")])
    assert pieces(topic, "a") == [(10, "x"), (25, "late"), (30, "y")]
    copies: dict[int, list[Any]] = defaultdict(list)
    for one in topic.read():
        copies[one.revision].append(one)
    assert all(one == some[0] for some in copies.values() for one in some)
    assert any(len(some) > 1 for some in copies.values()) is not deduplication
    first = min(copies)
    assert sorted(copies) == list(range(first, first + len(copies)))
    topic.close()
    assert stack.stop("worker") == 0


async def test_new_runs_and_epochs_under_load_lose_nothing(stack: Stack) -> None:
    """Every worker begins a new run after a few messages, writers also when told to and while they subscribe
    anew; in the middle a worker that is heard is ended by hand.
    """
    expression = 'duration_where(latest_event_to_state(state) == "on")'
    told = metric("often", expression, output="often-changes", partitions=2, allowed_lateness="1h")
    stack.start_worker()
    await stack.apply(told, continue_as_new_after=5)
    rng, sent, client = random.Random(11), [], await stack.temporal()
    handles = [(client.get_workflow_handle(spec.worker_id), spec.inputs[0][0]) for spec in writers(told)]
    for turn in range(16):
        some = [
            {"id": f"k{rng.randrange(60)}", "t": rng.randrange(3000), "state": rng.choice(["on", "off"])}
            for _ in range(100)
        ]
        sent += some
        stack.send("often-events", [event(e["id"], e["t"], state=e["state"]) for e in some])
        handle, heard = handles[turn % 2]
        before = await runs(stack, handle.id)
        await handle.signal("resubscribe", heard)
        await handle.signal("continue_as_new")
        if turn == 12:
            await end_by_hand(client, heard)
        await eventually(partial(has_begun_anew, stack, handle.id, before))
    expected = timeline_workers.evaluate(expression, sent, key="id", time="t")
    topic = Topic(stack, "often-changes")

    def differences() -> list[tuple[str, int]]:
        found = folded(topic.read())
        return [
            (key, at)
            for key in sorted(expected.keys())
            for at in range(0, 3100, 100)
            if value_at(found.get(key, []), at * 1_000_000) != expected.value_at(key, at).value
        ]

    await eventually_async(lambda: not differences())
    await eventually(lambda: idle(stack, told))
    # The worker that was ended may only now be rebuilt: what it had said is taken back and said again.
    await eventually_async(lambda: not differences())
    assert {health.state for health in await examine(client, [s.worker_id for s in writers(told)])} == {"ok"}
    topic.close()
    assert stack.stop("worker") == 0


@pytest.mark.long_on_pulsar
async def test_more_keys_than_a_batch_names_are_published(stack: Stack) -> None:
    """Three megabytes of names, of which Temporal takes two at once: when the writer subscribes anew all of
    them are taken back in one go, and told again.
    """
    rng = random.Random(5)
    keys = ["".join(rng.choices(LETTERS, k=200)) for _ in range(16_000)]
    told = metric("names", "latest_event_to_state(state)", output="names-changes", allowed_lateness="1h")
    stack.start_worker()
    await stack.apply(told)
    stack.send("names-events", [event(key, 10, state="x") for key in keys])
    await eventually(lambda: idle(stack, told, len(keys)))
    [writer] = writers(told)
    client = await stack.temporal()
    await client.get_workflow_handle(writer.worker_id).signal("resubscribe", writer.inputs[0][0])
    # Told, taken back but for those that the first message of the new epoch tells again, and told again.
    await eventually(lambda: idle(stack, told, 3 * len(keys) - 8_000))
    stack.send("names-events", [event(keys[0], 20, state="y")])
    topic = Topic(stack, "names-changes")
    expected = {key: [(10_000_000, ("x", None))] for key in keys}
    expected[keys[0]] += [(20_000_000, ("y", None))]
    await eventually_async(lambda: folded(topic.read()) == expected)
    topic.close()
    assert stack.stop("worker") == 0
