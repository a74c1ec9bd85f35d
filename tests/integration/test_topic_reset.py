"""Topics that begin again: wiped, deleted and made again, or trimmed while events were unread.

The events that are there are fed, those that are gone are stated as a gap, and nothing is counted twice.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from deploy.pulsar_standalone import Broker, BrokerError, standalone
from tests.integration.conftest import PULSAR
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.integration.test_every_event import Place, counting, counts, publish
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import plan, worker_id
from timeline_workers.process.guard import guarded
from timeline_workers.servers.embedded.embedded_servers import _accepts, _choose_ports, _pulsar_command
from workflows.client.conditions import metric_health

pytestmark = pytest.mark.integration

KEYS = [f"key-{i}" for i in range(4)]


class LiteBroker:
    """The embedded broker as a server of the test's own, which can lose its data."""

    def __init__(self, directory: Path, partitions: int) -> None:
        (directory / "pulsar").mkdir(parents=True)
        [port] = _choose_ports((0, 0))
        self.url = f"pulsar://127.0.0.1:{port}"
        self._home = directory / "pulsar"
        self._command = guarded(_pulsar_command(directory, port, partitions), 10)
        self.start()

    def stop(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()  # the guard's sign to stop it

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 30
        while not _accepts(int(self.url.rpartition(":")[2])):
            assert time.monotonic() < until

    def wipe(self) -> None:
        """Start again without anything that was stored."""
        self.stop()
        for data in self._home.glob("data*"):
            shutil.rmtree(data) if data.is_dir() else data.unlink()
        self.start()

    def admin(self, *_: Any) -> None:
        """It has no admin API."""

    def delete_topics(self) -> None:
        """They end with its data."""


@contextmanager
def lite_stack(directory: Path, partitions: int = 1) -> Iterator[tuple[Stack, LiteBroker]]:
    broker = LiteBroker(directory / "lite", partitions)
    try:
        with running_stack(directory, broker=broker) as made:  # type: ignore[arg-type]
            made.start_worker()
            yield made, broker
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, pulsar_broker: Broker) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("resets"), broker=pulsar_broker) as made:
        made.start_worker()
        yield made


async def send(stack: Stack, topic: str, instants: range, keys: list[str] = KEYS) -> list[Place]:
    """One event of each key at each of these instants."""
    events = [(key, event(key, t, state="on").payload) for t in instants for key in keys]
    return await asyncio.to_thread(publish, stack, topic, events)


async def counted(stack: Stack, metric: Metric, each: int, feeder: str = "feeder") -> None:
    """Return when each key has so many events, and no more."""

    async def check() -> bool:
        return await counts(stack, metric) == dict.fromkeys(KEYS, each)

    try:
        await eventually(check)
    except TimeoutError:
        raise AssertionError(f"{await counts(stack, metric)} and not {each}; {stack.log(feeder)}") from None


async def noted(stack: Stack, metric: Metric) -> tuple[int, str]:
    """How many gaps the commit leaf has, over all partitions, and the words of one."""
    planned = plan(metric)
    leaf = min(node.name for node in planned.nodes if node.is_leaf)
    client = await stack.temporal()
    status = await client.get_workflow_handle(worker_id(leaf, "p0")).query("status")
    found = [p.get("noted") or {} for p in status["state"]["progress"]]
    return sum(n.get("gaps", 0) for n in found), next((n["gap"] for n in found if n.get("gap")), "")


async def has_gap(stack: Stack, metric: Metric, many: int = 1, feeder: str = "feeder") -> str:
    """The words of the gap, when that many are stated."""

    async def check() -> bool:
        return (await noted(stack, metric))[0] == many

    try:
        await eventually(check, 20)
    except TimeoutError:
        raise AssertionError(f"{await noted(stack, metric)}; {stack.log(feeder)}") from None
    return (await noted(stack, metric))[1]


@pytest.mark.parametrize(
    ("down", "after", "partitions"),
    [
        (False, 3, 1),
        pytest.param(False, 40, 1, marks=pytest.mark.long),
        pytest.param(True, 3, 1, marks=pytest.mark.long),
        (True, 40, 1),
        (False, 40, 2),
        pytest.param(True, 3, 2, marks=pytest.mark.long),
    ],
    ids=[
        "running-fewer",
        "running-more",
        "down-fewer",
        "down-more",
        "running-more-parts",
        "down-fewer-parts",
    ],
)
async def test_a_wiped_embedded_broker_is_fed_anew(
    tmp_path: Path, down: bool, after: int, partitions: int
) -> None:
    """An embedded broker that is wiped is fed from its new beginning."""
    with lite_stack(tmp_path, partitions) as (stack, broker):
        metric = counting("wiped", "wiped", allowed_lateness="1h")
        await stack.apply(metric)
        stack.start_feeder()
        await send(stack, "wiped", range(10))
        await counted(stack, metric, 10)
        if down:
            assert stack.stop("feeder") == 0
        await asyncio.to_thread(broker.wipe)
        await send(stack, "wiped", range(10, 10 + after))
        if down:
            stack.start_feeder()
        await counted(stack, metric, 10 + after)
        assert "recreated" in await has_gap(stack, metric, partitions)
        stack.stop("feeder")
        stack.start_feeder()
        await send(stack, "wiped", range(100, 105))
        await counted(stack, metric, 15 + after)
        assert (await noted(stack, metric))[0] == partitions
        assert stack.stop("feeder") == 0


def path_of(topic: str) -> str:
    return f"persistent/public/default/{topic}"


@contextmanager
def feeding(stack: Stack, topic: str, *arguments: str) -> Iterator[None]:
    """A feeder of the metric that is called like its topic, which is stopped at the end."""
    stack.start_feeder("--metric", topic, *arguments)
    try:
        yield
    finally:
        assert stack.stop("feeder") == 0


async def is_ok(stack: Stack, metric: Metric) -> None:
    """Return when `timeline get` says so: the broker's own account of what waits comes a little later."""
    said = ("", "")

    async def check() -> bool:
        nonlocal said
        said = await state(stack, metric)
        return said[0] == "ok"

    try:
        await eventually(check)
    except TimeoutError:
        raise AssertionError(f"{said}; {stack.log('feeder')}") from None


async def state(stack: Stack, metric: Metric) -> tuple[str, str]:
    """The metric's state and its cause, as `timeline get` has them."""
    os.environ["TIMELINE_PULSAR_URL"] = stack.addresses.pulsar
    try:
        [health] = await metric_health(await stack.temporal(), [metric.name])
    finally:
        del os.environ["TIMELINE_PULSAR_URL"]
    return health.state, health.cause or ""


@pytest.mark.parametrize(
    "new", [0, 1, pytest.param(2, marks=pytest.mark.long), 3], ids=["plain", "one", "same", "more"]
)
@pytest.mark.parametrize("down", [False, pytest.param(True, marks=pytest.mark.long)], ids=["running", "down"])
async def test_a_recreated_topic_is_fed(real: Stack, pulsar_broker: Broker, down: bool, new: int) -> None:
    """Also with events that were not fed when it was deleted, and with other partitions."""
    topic, old = f"again-{new}-{down}", 2 if new else 0
    pulsar_broker.create_topic(topic, old)
    metric = counting(topic, topic, allowed_lateness="1h")
    await real.apply(metric)

    async def again() -> None:
        path = f"{path_of(topic)}{'/partitions' if old else ''}?force=true"
        await asyncio.to_thread(pulsar_broker.admin, "DELETE", path)
        with suppress(BrokerError):  # the feeder's client library may have been quicker
            await asyncio.to_thread(pulsar_broker.create_topic, topic, new)
        await send(real, topic, range(10, 15))

    with feeding(real, topic):
        await send(real, topic, range(10))
        await counted(real, metric, 10)
        if not down:
            await again()
            await counted(real, metric, 15)
            await has_gap(real, metric, min(old, new) or 1)
    if down:
        await send(real, topic, range(10))  # never to be fed
        await again()
        with feeding(real, topic):
            await counted(real, metric, 15)
            await has_gap(real, metric, min(old, new) or 1)
            # A partition that is gone does not hold answers back.
            await send(real, topic, range(10_000, 10_001), [f"other-{i}" for i in range(32)])

            async def final() -> bool:
                return bool((await real.ask(metric, KEYS[0], "value_at", {"at": 20}))["final"])

            await eventually(final)


@pytest.fixture
def trimming(pulsar_broker: Broker) -> Iterator[Broker]:
    """The broker, keeping nothing that no subscription asks for, and rolling ledgers over when unloaded."""
    path = "namespaces/public/default/retention"
    pulsar_broker.admin("POST", path, {"retentionTimeInMinutes": 0, "retentionSizeInMB": 0})
    yield pulsar_broker
    pulsar_broker.admin("DELETE", path)


async def trimmed(broker: Broker, topic: str) -> None:
    """Have the broker begin a new ledger, and delete those that nobody needs, a moment later."""
    await asyncio.to_thread(broker.admin, "PUT", f"{path_of(topic)}/unload")
    await asyncio.to_thread(broker.admin, "GET", f"{path_of(topic)}/stats")  # loads it
    await asyncio.to_thread(broker.admin, "POST", f"{path_of(topic)}/trim")


async def ledgers(broker: Broker, topic: str) -> list[int]:
    stats = await asyncio.to_thread(broker.admin, "GET", f"{path_of(topic)}/internalStats")
    return [ledger["ledgerId"] for ledger in stats["ledgers"]]


async def test_a_trim_of_what_was_fed_is_no_gap(real: Stack, trimming: Broker) -> None:
    """Ledgers come and go while a feeder runs, and while none does: nothing is missing, nothing is said."""
    topic = "trimmed-after"
    trimming.create_topic(topic)
    metric = counting(topic, topic, allowed_lateness="1h")
    await real.apply(metric)
    firsts: list[int] = []
    for number in range(3):
        with feeding(real, topic):
            await send(real, topic, range(20 * number, 20 * number + 10))
            await counted(real, metric, 20 * number + 10)
            await trimmed(trimming, topic)
            await send(real, topic, range(20 * number + 10, 20 * number + 20))
            await counted(real, metric, 20 * number + 20)
        await trimmed(trimming, topic)
        firsts.append((await ledgers(trimming, topic))[0])
    assert firsts[0] < firsts[-1], "ledgers were trimmed"
    assert await noted(real, metric) == (0, "")
    await is_ok(real, metric)


async def expired(broker: Broker, topic: str, subscription: str) -> None:
    """Let go by all that is older than a second, until nothing is left: the broker does it on the side."""

    async def nothing_left() -> bool:
        with suppress(BrokerError):  # it may be at it from the last time
            broker.admin("POST", f"{path_of(topic)}/subscription/{subscription}/expireMessages/1")
        stats = broker.admin("GET", f"{path_of(topic)}/stats")
        return bool(stats["subscriptions"][subscription]["msgBacklog"] == 0)

    await eventually(nothing_left)


@pytest.mark.parametrize("how", ["skipped", "expired", "unsubscribed"])
async def test_events_deleted_before_they_are_fed_are_a_gap(real: Stack, trimming: Broker, how: str) -> None:
    """40 events of four keys go by a message TTL, an administrator or with the subscription."""
    topic = f"trimmed-{how}"
    trimming.create_topic(topic)
    metric = counting(topic, topic, allowed_lateness="1h")
    await real.apply(metric)
    with feeding(real, topic):
        await send(real, topic, range(10))
        await counted(real, metric, 10)
    await send(real, topic, range(10, 20))
    [subscription] = trimming.admin("GET", f"{path_of(topic)}/subscriptions")
    one = f"{path_of(topic)}/subscription/{subscription}"
    if how == "unsubscribed":
        trimming.admin("DELETE", f"{one}?force=true")
    elif how == "skipped":
        trimming.admin("POST", f"{one}/skip_all")
    else:
        await expired(trimming, topic, subscription)
    await trimmed(trimming, topic)
    await send(real, topic, range(20, 25))
    with feeding(real, topic):
        await counted(real, metric, 15)
        words = await has_gap(real, metric)
        assert "partition 0: messages after " in words
        found, cause = await state(real, metric)
        assert found == "gap"
        assert words in cause


@pytest.mark.long
async def test_a_backlog_quota_that_evicts_is_a_gap(real: Stack, trimming: Broker) -> None:
    topic = "evicted"
    trimming.create_topic(topic)
    metric = counting(topic, topic, allowed_lateness="1h")
    await real.apply(metric)
    with feeding(real, topic):
        await send(real, topic, range(10))
        await counted(real, metric, 10)
    await send(real, topic, range(10, 20))
    await trimmed(trimming, topic)
    await send(real, topic, range(20, 25))
    policy = {"limitSize": 1, "limit": 1, "limitTime": -1, "policy": "consumer_backlog_eviction"}
    path = "namespaces/public/default/backlogQuota?backlogQuotaType=destination_storage"
    trimming.admin("POST", path, policy)
    first = (await ledgers(trimming, topic))[0]
    try:

        async def evicted() -> bool:  # the broker looks once a minute
            await asyncio.to_thread(trimming.admin, "POST", f"{path_of(topic)}/trim")
            return (await ledgers(trimming, topic))[0] > first

        await eventually(evicted, 150)
    finally:
        trimming.admin("DELETE", path)
    with feeding(real, topic):
        await counted(real, metric, 15)
        await has_gap(real, metric)


async def test_the_feeder_may_stop_at_a_gap(tmp_path: Path) -> None:
    """`--on-reset stop`: nothing is fed after the gap, and everything says so; `continue` goes on, once."""
    with lite_stack(tmp_path) as (stack, broker):
        metric = counting("stopped", "stopped", allowed_lateness="1h")
        await stack.apply(metric)
        stack.start_feeder("--on-reset", "stop")
        await send(stack, "stopped", range(10))
        await counted(stack, metric, 10)
        await asyncio.to_thread(broker.wipe)
        await send(stack, "stopped", range(10, 15))

        async def says_so() -> bool:
            found, cause = await state(stack, metric)
            return found == "gap" and "--on-reset continue" in cause

        await eventually(says_so, 20)
        assert "--on-reset continue" in stack.log("feeder")
        assert await counts(stack, metric) == dict.fromkeys(KEYS, 10)
        assert stack.stop("feeder") == 0
        stack.start_feeder()
        await counted(stack, metric, 15)
        assert "recreated" in await has_gap(stack, metric)
        assert stack.stop("feeder") == 0


async def test_get_sees_what_waits_in_a_recreated_topic(tmp_path: Path) -> None:
    """Get sees what waits in a recreated topic with no feeder."""
    with lite_stack(tmp_path) as (stack, broker):
        metric = counting("unseen", "unseen", allowed_lateness="1h")
        await stack.apply(metric)
        stack.start_feeder()
        await send(stack, "unseen", range(10))
        await counted(stack, metric, 10)
        assert stack.stop("feeder") == 0
        await asyncio.to_thread(broker.wipe)
        await send(stack, "unseen", range(10, 12))

        async def waits() -> bool:
            found, cause = await state(stack, metric)
            return found == "gap" and "topic unseen was recreated" in cause

        await eventually(waits, 10)


@pytest.mark.long_on_pulsar
@pytest.mark.parametrize("broker", [PULSAR])
async def test_two_feeders_agree_on_a_wiped_broker(
    tmp_path: Path, broker: str, pulsar_broker: Broker
) -> None:
    """Twice, once while they run and once while they do not: each event that is there is counted once, and
    there is one gap more, whoever feeds it.
    """
    with (
        standalone(tmp_path / "pulsar") as lost,
        running_stack(tmp_path, broker=lost) as stack,
    ):
        stack.start_worker()

        async def wipe() -> None:
            await asyncio.to_thread(lost.stop)
            for data in ("metadata", "bookkeeper"):
                shutil.rmtree(lost.data / data)
            await asyncio.to_thread(lost.start)
            with suppress(BrokerError):  # a feeder may have been quicker
                lost.create_topic("lost")

        for number in range(20):  # so that the first places are higher than those that come later
            await send(stack, f"other-{number}", range(1), KEYS[:1])
        lost.create_topic("lost")
        metric = counting("lost", "lost", allowed_lateness="1h")
        await stack.apply(metric)
        names = ("one", "other")
        for name in names:
            stack.start(name, "feeder")
        await send(stack, "lost", range(10))
        await counted(stack, metric, 10, feeder="one")
        await wipe()
        await send(stack, "lost", range(10, 30))
        await counted(stack, metric, 30, feeder="one")
        await has_gap(stack, metric, 1, feeder="one")
        for name in names:
            assert stack.stop(name) == 0
        await wipe()
        await send(stack, "lost", range(30, 70))
        for name in names:
            stack.start(name, "feeder")
        await counted(stack, metric, 70, feeder="one")
        await has_gap(stack, metric, 2, feeder="one")
        for name in names:
            assert stack.stop(name) == 0
