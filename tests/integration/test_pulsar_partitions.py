"""Partitions that are added to a topic while it is being fed, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.integration.test_every_event import Place, counting, counts, fed, last_of, letters, publish
from timeline_workers.plan.physical import partition_labels, plan, worker_id
from workflows.client import ask

pytestmark = pytest.mark.integration

KEYS = [f"key-{i}" for i in range(48)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, pulsar_broker: Broker) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("partitions"), broker=pulsar_broker) as made:
        made.start_worker()
        yield made


def send(stack: Stack, topic: str, time: float) -> list[Place]:
    return publish(stack, topic, [(key, event(key, time, state="on").payload) for key in KEYS])


@pytest.mark.parametrize("feeders", [["one"], ["one", "other"]], ids=["alone", "two"])
async def test_added_partitions_are_fed(stack: Stack, pulsar_broker: Broker, feeders: list[str]) -> None:
    """Two more partitions while feeders run: their events are fed without anybody's help. Those below the
    watermark that the topic had are dead letters, those above count, and what was final stays so.
    """
    topic = f"added-for-{len(feeders)}"
    pulsar_broker.create_topic(topic, 2)
    metric = counting(topic, topic, allowed_lateness="10s")
    await stack.apply(metric)
    for name in feeders:
        stack.start(name, "feeder")
    places = send(stack, topic, 1_000)
    assert {p.partition for p in places} == {0, 1}
    await fed(stack, metric, last_of(places))

    async def final() -> bool:
        return all([(await stack.ask(metric, key, "value_at", {"at": 989}))["final"] for key in KEYS])

    await eventually(final)
    pulsar_broker.admin("POST", f"persistent/public/default/{topic}/partitions", 4)
    late = send(stack, topic, 989)
    assert {p.partition for p in late} == {0, 1, 2, 3}
    good = send(stack, topic, 990)
    await fed(stack, metric, last_of([*late, *good]))
    assert await final()
    for name in feeders:
        assert stack.stop(name) == 0

    assert await counts(stack, metric) == dict.fromkeys(KEYS, 2)
    found = letters(stack, topic, len(late))
    assert {Place(int(m.properties()["partition"]), m.properties()["position"]) for m in found} == set(late)
    assert {m.properties()["reason"] for m in found} == {"late"}
    planned = plan(metric)
    for node in planned.nodes:
        if node.is_leaf:
            for label in partition_labels(planned):
                state = (await ask.ask_worker(await stack.temporal(), worker_id(node.name, label), "status"))[
                    "state"
                ]
                assert "too_late" not in state
                assert state["late"] == len(late)
