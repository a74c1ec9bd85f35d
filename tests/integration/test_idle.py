"""Silent partitions do not hold watermarks back, on each broker; and what was final stays so."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, eventually, running_stack
from tests.integration.test_every_event import Place, letters
from tests.integration.test_finality import LATENESS, SECOND, metric, send, states
from timeline_workers.metric.model import Metric

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    """Servers with topics of two partitions, a worker and a feeder."""
    with running_stack(tmp_path_factory.mktemp("idle"), topic_partitions=2, broker=broker) as made:
        made.start_worker()
        made.start_feeder()
        yield made


async def least_mark(stack: Stack, metric: Metric) -> int | None:
    """The least watermark of all workers of the metric; None while one has none."""
    marks = [state["watermark"] for state in (await states(stack, metric)).values()]
    return None if None in marks else min(marks)


async def until_beyond(stack: Stack, metric: Metric, mark: int) -> None:
    """Return when every worker's watermark is above ``mark``."""

    async def beyond() -> bool:
        least = await least_mark(stack, metric)
        return least is not None and least > mark

    await eventually(beyond)


@pytest.mark.long_on_pulsar
async def test_time_goes_on_in_silence(
    stack: Stack,
) -> None:
    """One partition has had an event, the other none: after the timeout the watermark goes on with the clock,
    at every worker. The feeder is killed: a new one takes an event below the watermark that had been
    reached for late, and answers are as they were. A metric that comes later reads the past with the same
    events late.
    """
    topic = "silent"
    silent = metric("silent", topic, idle_timeout="500ms")
    await stack.apply(silent)
    send(stack, topic, "a", 20 * SECOND, "on")
    last = 100 * SECOND
    send(stack, topic, "a", last, "off")
    await until_beyond(stack, silent, last - LATENESS + 2 * SECOND)
    stack.stop("feeder", signal.SIGKILL)
    marks = {worker: state["watermark"] for worker, state in (await states(stack, silent)).items()}
    mark = max(marks.values())
    before = await stack.ask(silent, "a", "spans", {"start": 0, "end": min(marks.values())})
    assert before["final"]

    stack.start_feeder()
    late = send(stack, topic, "a", mark - 1, "on")
    applied = send(stack, topic, "a", last + 3600 * SECOND, "on")
    await until_beyond(stack, silent, last + 3600 * SECOND - LATENESS - 1)
    assert all(state["watermark"] >= marks[worker] for worker, state in (await states(stack, silent)).items())
    assert all(state["late"] == 1 for state in (await states(stack, silent)).values())
    found = letters(stack, topic, 1)
    assert {
        Place(int(m.properties()["partition"]), m.properties()["position"]): m.properties()["reason"]
        for m in found
    } == {late: "late"}
    assert applied != late
    told = await stack.ask(silent, "a", "spans", {"start": 0, "end": min(marks.values())})
    assert told == before
    assert (await stack.ask(silent, "a", "value_at", {"at": last + 3600 * SECOND}))["value"] == 80

    same = silent.model_copy(
        update={"name": "same", "expression": 'duration_where(!has_existed_within(state == "on", 1s))'}
    )
    await stack.apply(same)
    await until_beyond(stack, same, last + 3600 * SECOND - LATENESS - 1)
    # On at 20 s and, an hour later, at 3700 s; the late one has no second of its own.
    value = await stack.ask(same, "a", "value_at", {"at": last + 3600 * SECOND})
    assert value["value"] == 3700 - 20 - 1


async def test_a_silent_partition_follows_one_that_is_not(stack: Stack) -> None:
    """Events keep coming to one partition only: the watermark is that partition's, though the other has had
    an event, long ago.
    """
    topic = "one-sided"
    sided = metric("one-sided", topic, idle_timeout="500ms")
    await stack.apply(sided)
    first = send(stack, topic, "a", 0, "on")
    number = 0
    while send(stack, topic, f"other-{number}", 0, "on").partition == first.partition:
        number += 1
    time = 1_000 * SECOND

    async def follows() -> bool:
        nonlocal time
        time += SECOND
        send(stack, topic, "a", time, "on")
        least = await least_mark(stack, sided)
        # With the clock alone it could not be there for a quarter of an hour.
        return least is not None and least >= 1_000 * SECOND - LATENESS

    await eventually(follows)
