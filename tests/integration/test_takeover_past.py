"""Two feeders of one group find at the same time that leaves lack the past: one of them reads it, and the
other takes over when that one is killed. On a real broker.
"""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.integration.test_every_event import Place, counting, counts, fed, last_of, letters, publish
from tests.integration.test_real_pulsar_feeders import active
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import all_workers, plan

pytestmark = pytest.mark.integration

PARTITIONS, KEYS, GOOD, BAD = 4, 48, 9_600, 40
FEEDERS = ("one", "other")


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory, pulsar_broker: Broker) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("takeover-past"), broker=pulsar_broker) as made:
        made.start_worker()
        yield made


def some(seed: int) -> list[tuple[str, bytes]]:
    """Events that count 1 each, equally many for every key, and bad ones between them."""
    sent = [(f"key-{i % KEYS}", event(f"key-{i % KEYS}", 600, state="on").payload) for i in range(GOOD)]
    rng = random.Random(seed)
    for i in range(BAD):
        sent.insert(rng.randrange(len(sent)), (f"key-{i % KEYS}", b"{bad"))
    return sent


def logged(stack: Stack, name: str) -> list[dict[str, Any]]:
    """The whole lines of a feeder's own log, without those of the client library."""
    whole = stack.log(name).rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in whole if line.startswith("{")]


def lettered(stack: Stack, topic: str, expected: int) -> Counter[tuple[str, Place]]:
    """How many dead letters there are, by metric and place."""
    about = [m.properties() for m in letters(stack, topic, expected)]
    return Counter((a["metrics"], Place(int(a["partition"]), a["position"])) for a in about)


async def called_complete(stack: Stack, metric: Metric) -> None:
    """Return when every leaf worker of ``metric`` has been told that it lacks nothing."""
    client = await stack.temporal()
    leaves = [spec.worker_id for spec in all_workers(plan(metric)) if spec.node.is_leaf]

    async def told() -> bool:
        statuses = [await client.get_workflow_handle(leaf).query("status") for leaf in leaves]
        return not any(status.get("incomplete") for status in statuses)

    await eventually(told)


def later_metrics(topic: str, first: Metric) -> list[Metric]:
    """One that is read for itself, and one whose leaves are new beside those that are fed."""
    return [
        counting("apart", topic, allowed_lateness="1h", max_ahead="3d"),
        first.model_copy(update={"name": "beside", "expression": 'event_count(state != "off")'}),
    ]


async def test_one_of_two_feeders_reads_the_missed_past(stack: Stack, pulsar_broker: Broker) -> None:
    """Metrics are applied to a topic on which nothing happens any more: every message is replayed once for
    each, and every bad one has one letter for the metric that judges for itself. A partition that a feeder
    takes up meanwhile may have letters twice.
    """
    topic = "read-once"
    pulsar_broker.create_topic(topic, PARTITIONS)
    first = counting("first", topic, allowed_lateness="1h")
    await stack.apply(first)
    for name in FEEDERS:
        stack.start(name, "feeder", "--batch", "1000")

    async def shared_out() -> bool:
        return "" not in (readers := active(pulsar_broker, topic, PARTITIONS)) and len(set(readers)) == 2

    await eventually(shared_out)
    sent = some(1)
    places = publish(stack, topic, sent)
    await fed(stack, first, last_of(places))
    # Before that all of its leaves may lack something, as those that are applied beside them do.
    await called_complete(stack, first)
    later = later_metrics(topic, first)
    for metric in later:
        await stack.apply(metric)
        await fed(stack, metric, last_of(places))

    async def read() -> bool:
        lines = [line for name in FEEDERS for line in logged(stack, name)]
        ended = [line for line in lines if line["event"] == "backfill finished"]
        return sum(line["metrics"] != ["first"] for line in ended) >= len(later)

    await eventually(read)
    for name in FEEDERS:
        assert stack.stop(name) == 0
    replayed: Counter[tuple[str, bool]] = Counter()
    for line in (line for name in FEEDERS for line in logged(stack, name)):
        # What the first metric was fed may have been read so, too, where a feeder came late.
        if line["event"] == "backfill finished" and line["metrics"] != ["first"]:
            replayed[" ".join(line["metrics"]), "leaves" in line] += line["messages"]
    assert replayed == {("apart", False): len(sent), ("beside first", True): len(sent)}
    for metric in (first, *later):
        assert await counts(stack, metric) == dict.fromkeys((f"key-{i}" for i in range(KEYS)), GOOD // KEYS)
    bad = [place for place, (_, payload) in zip(places, sent, strict=True) if payload == b"{bad"]
    found = lettered(stack, topic, 2 * len(bad))
    assert {place for name, place in found if name == "first"} == set(bad)
    assert {key: many for key, many in found.items() if key[0] == "apart"} == {("apart", p): 1 for p in bad}
    # Who begins with a partition while a new leaf that is the commit leaf gets its past may feed the group
    # again: leaves drop what they have had, and bad events have another letter, for all metrics of the group.
    assert {name for name, _ in found} <= {"first", "apart", "apart, first", "beside, first"}


@pytest.mark.parametrize("new", [pytest.param("apart", marks=pytest.mark.long), "beside"])
async def test_the_other_feeder_reads_on_after_a_kill(stack: Stack, pulsar_broker: Broker, new: str) -> None:
    """kill -9 of the one that reads, while events keep coming: every event counts once in the end, for every
    metric, though the one that is left has waited.
    """
    topic = f"reads-on-{new}"
    pulsar_broker.create_topic(topic, PARTITIONS)
    first = counting("first", topic, allowed_lateness="1h")
    await stack.apply(first)
    for name in FEEDERS:
        stack.start(name, "feeder", "--batch", "100", "--wait-ms", "1")
    sent = some(2)
    half = len(sent) // 2
    places = publish(stack, topic, sent[:half])
    await fed(stack, first, last_of(places))
    [metric] = [one for one in later_metrics(topic, first) if one.name == new]
    await stack.apply(metric)

    async def reader() -> str | None:
        for name in FEEDERS:
            for line in logged(stack, name):
                if line["event"] == "backfill started" and new in line["metrics"]:
                    return name
        return None

    await eventually(reader)
    killed = await reader()
    assert killed is not None
    stack.stop(killed, signal.SIGKILL)
    places += publish(stack, topic, sent[half:])
    for each in (first, metric):
        await fed(stack, each, last_of(places))
        expected = Counter(key for key, payload in sent if payload != b"{bad")
        assert await counts(stack, each) == expected
    [left] = set(FEEDERS) - {killed}
    assert stack.stop(left) == 0
    bad = {place for place, (_, payload) in zip(places, sent, strict=True) if payload == b"{bad"}
    found = lettered(stack, topic, len(bad))
    assert {place for _, place in found} == bad
