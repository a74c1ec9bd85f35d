"""Finality to the microsecond: late events, the least of the partitions, counts; on each broker."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.integration.test_every_event import Place, letters, publish
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import partition_labels, plan, worker_id

pytestmark = pytest.mark.integration

SECOND = 1_000_000
LATENESS = 10 * SECOND


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    """Servers with topics of two partitions, a worker and a feeder."""
    with running_stack(tmp_path_factory.mktemp("finality"), topic_partitions=2, broker=broker) as made:
        made.start_worker()
        made.start_feeder()
        yield made


def metric(name: str, topic: str, **source: Any) -> Metric:
    declared = {"topic": topic, "key": "id", "time": "t", "time_unit": "us", "columns": {"state": "string"}}
    return Metric(
        name=name,
        source=Source.model_validate({**declared, "allowed_lateness": "10s", "partitions": 2, **source}),
        expression='duration_where(latest_event_to_state(state) == "on")',
    )


def send(stack: Stack, topic: str, key: str, time: int, state: str) -> Place:
    [place] = publish(stack, topic, [(key, event(key, time, state=state).payload)])
    return place


def keys_by_partition(stack: Stack, topic: str, time: int) -> tuple[str, str]:
    """A key of each of the two partitions; both have had an event at ``time``."""
    found: dict[int, str] = {}
    for number in range(64):
        place = send(stack, topic, f"key-{number}", time, "off")
        found.setdefault(place.partition, f"key-{number}")
        if len(found) == 2:
            return found[0], found[1]
    raise AssertionError("64 keys are all in one partition")


async def states(stack: Stack, metric: Metric) -> dict[str, dict[str, Any]]:
    """What every worker of the metric says about its state."""
    planned, client = plan(metric), await stack.temporal()
    return {
        worker: (await client.get_workflow_handle(worker).query("status"))["state"]
        for node in planned.nodes
        for label in partition_labels(planned)
        for worker in [worker_id(node.name, label)]
    }


async def all_say(stack: Stack, metric: Metric, **expected: Any) -> None:
    """Return when every worker of the metric says so."""
    said: dict[str, dict[str, Any]] = {}

    async def agree() -> bool:
        said.update(await states(stack, metric))
        return all(state[name] == value for state in said.values() for name, value in expected.items())

    try:
        await eventually(agree)
    except TimeoutError:
        raise AssertionError(f"{expected} is not what they say: {said}") from None


async def finals(stack: Stack, metric: Metric, key: str, mark: int) -> list[bool]:
    """Which answers are final: the value in the microsecond before ``mark`` and at it, the spans up to it and
    through it, and the change from 0 up to it and through it.
    """
    return [
        *[(await stack.ask(metric, key, "value_at", {"at": at}))["final"] for at in (mark - 1, mark)],
        *[
            (await stack.ask(metric, key, "spans", {"start": 0, "end": end}))["final"]
            for end in (mark, mark + 1)
        ],
        *[
            (await stack.ask(metric, key, "change", {"start": 0, "end": end}))["final"]
            for end in (mark, mark + 1)
        ],
    ]


async def test_lateness_and_finality_are_strict(
    stack: Stack,
) -> None:
    """Two source partitions with watermarks of 90 s and 40 s: an event a microsecond below 90 s is in the
    dead-letter topic, with its place, and nowhere else; one at 90 s is applied. Answers are final below
    40 s, at every worker, and below 70 s when the slower partition has come to there. A killed feeder
    changes none of it, and counts nothing twice.
    """
    topic = "final"
    final = metric("final", topic)
    await stack.apply(final)
    fast, slow = keys_by_partition(stack, topic, 0)
    send(stack, topic, fast, 20 * SECOND, "on")
    send(stack, topic, fast, 100 * SECOND, "off")
    send(stack, topic, slow, 50 * SECOND, "off")
    await all_say(stack, final, watermark=40 * SECOND, late=0, refused=0)
    for key in (fast, slow):
        assert await finals(stack, final, key, 40 * SECOND) == [True, False, True, False, True, False]
    before = await stack.ask(final, fast, "spans", {"start": 0, "end": 40 * SECOND})

    late = send(stack, topic, fast, 90 * SECOND - 1, "off")
    at_the_mark = send(stack, topic, fast, 90 * SECOND, "off")
    bad = send(stack, topic, "other", 10**18, "off")
    await all_say(stack, final, watermark=40 * SECOND, late=1, refused=1)
    found = letters(stack, topic, 2)
    about = {
        Place(int(m.properties()["partition"]), m.properties()["position"]): (
            m.properties()["reason"],
            m.partition_key(),
        )
        for m in found
    }
    assert about == {late: ("late", fast), bad: ("bad-time", "other")}
    assert at_the_mark not in about
    # On from 20 s, off at 90 s: the late one would have said a microsecond less, and none of them 10 s more.
    answer = await stack.ask(final, fast, "value_at", {"at": 200 * SECOND})
    assert answer["value"] == 70
    told = await stack.ask(final, fast, "spans", {"start": 0, "end": 40 * SECOND})
    assert told == before

    stack.stop("feeder", signal.SIGKILL)
    stack.start_feeder()
    send(stack, topic, slow, 80 * SECOND, "off")
    await all_say(stack, final, watermark=70 * SECOND, late=1, refused=1)
    for key in (fast, slow):
        assert await finals(stack, final, key, 70 * SECOND) == [True, False, True, False, True, False]
    assert await stack.ask(final, fast, "spans", {"start": 0, "end": 40 * SECOND}) == before


async def test_without_events_of_a_partition_nothing_is_final(stack: Stack) -> None:
    """Unless the source has an idle timeout; see test_idle."""
    topic = "half"
    half = metric("half", topic)
    await stack.apply(half)
    place = send(stack, topic, "a", 100 * SECOND, "on")
    await all_say(stack, half, watermark=None, late=0)
    client = await stack.temporal()
    planned = plan(half)

    async def has_come() -> bool:
        worker = worker_id(planned.result.name, partition_labels(planned)[0])
        progress = (await client.get_workflow_handle(worker).query("status"))["state"]["progress"]
        return {p["partition"]: p["watermark"] for p in progress} == {
            place.partition: 90 * SECOND,
            1 - place.partition: None,
        }

    await eventually(has_come)
    assert (await stack.ask(half, "a", "value_at", {"at": 0}))["final"] is False
