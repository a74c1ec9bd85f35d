"""Whole feeders at random: several of them, killed and started again at any moment, over a topic in memory.

Whatever happens, the answers are those of evaluation in process over the events that count; every event that
does not count has a dead letter, and nothing else has one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from typing import Any

import pytest
import structlog
from hypothesis import example, given, settings, strategies as st

from feeder.delivery import fed_group
from feeder.delivery.leaf_delivery import OUTSTANDING, Leaves
from feeder.message_batch import shown
from feeder.positions import SILENT
from feeder.recovery.gaps import Order
from feeder.recovery.takeover import Takeover
from feeder.source.memory import MemoryMessage
from tests.feeder import virtual_time
from tests.feeder.network import EPOCH_MS, QUIET_SECONDS, Network
from timeline_workers import evaluate
from timeline_workers.metric.model import ColumnSpec, Metric, Source
from timeline_workers.plan.physical import Plan, partition_labels, partition_of, plan, worker_id, workers
from timeline_workers.runtime.node_worker import NodeWorker
from workflows.client.running import Run

LATENESS_MS = 3_000
PARTITIONS = 2
SOURCE = Source(
    topic="events",
    key="id",
    time="t",
    time_unit="ms",
    columns={"state": ColumnSpec(type="string"), "size": ColumnSpec(type="int")},
    allowed_lateness=LATENESS_MS * 1000,
    partitions=2,
)
PLAYING = 'duration_where(latest_event_to_state(state) == "on" && has_existed(size > 2))'
COUNTING = 'event_count(size >= 0) + event_count_within(state == "on", 4s)'
LATER = "latest_event_to_state(size)"
KEYS = ("a", "b", "c", "d")

OPERATIONS = (
    "publish", "publish", "publish", "publish", "wait", "wait", "wait long", "start", "start and kill",
    "start and kill", "kill", "stop", "skip", "ledger", "register",
)  # fmt: skip
# Seeds of schedules in which a leaf that has ended is given its past.
RIGHT = (2, 7, 8, 9)
# See test_an_ended_leaf_always_gets_its_past.
ENDING = (*OPERATIONS, "end a leaf", "end a leaf")
# Where partitions are silent or added, the watermark of one depends on when the others brought what.
SILENT_ONES = (*OPERATIONS, "wait long", "publish to one", "publish to one", "add a partition")
IDLE = SOURCE.model_copy(update={"idle_timeout": 5_000_000})


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """Whoever looks for a fault wants the feeders' log; schedules by the hundred do not."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def metric(name: str, expression: str, source: Source = SOURCE) -> Plan:
    return plan(Metric(name=name, source=source, expression=expression))


class Schedule:
    """Plays operations on a network, all of whose chances come from one seed."""

    def __init__(
        self, seed: int, partitions: int = PARTITIONS, source: Source = SOURCE, *, alone: bool = False
    ) -> None:
        self.rng, self.source = random.Random(seed), source
        plans = [metric("playing", PLAYING, source), metric("counting", COUNTING, source)]
        self.network = Network(plans, self.rng, partitions, alone=alone)
        self.registered = False

    async def play(self, operations: Sequence[str]) -> None:
        for operation in operations:
            getattr(self, operation.replace(" ", "_"))()
            pause = {"wait": 1.0, "wait long": 20.0}.get(operation, self.network.delay())
            await asyncio.sleep(pause * self.rng.random())
        await self.settle()

    async def settle(self) -> None:
        await self.network.settle()

    def publish(self) -> None:
        self._publish(self.rng.randrange(len(self.network.topic.stored)))

    def publish_to_one(self) -> None:
        """The others are silent meanwhile."""
        self._publish(0)

    def _publish(self, partition: int) -> None:
        network, rng = self.network, self.rng
        events: list[dict[str, Any] | bytes] = []
        for _ in range(rng.randint(1, 4)):
            at = network.unique(network.now_ms() - int(rng.random() ** 3 * 3 * LATENESS_MS))
            event = {
                "id": rng.choice(KEYS),
                "t": at,
                "state": rng.choice(("on", "off")),
                "size": rng.randint(0, 5),
            }
            events.append(event if rng.random() < 0.95 else b"no event")
        network.publish(partition, events)

    def add_a_partition(self) -> None:
        if len(self.network.topic.stored) < 4:
            self.network.topic.add_partition()

    def wait(self) -> None: ...

    def wait_long(self) -> None: ...

    def start(self) -> None:
        self.network.feeder(batch=self.rng.choice((2, 1_000)))

    def start_and_kill(self) -> None:
        self.network.feeder(killed_after=self.rng.randint(1, 120), batch=self.rng.choice((2, 1_000)))

    def kill(self) -> None:
        for process in self._some():
            process.kill()

    def stop(self) -> None:
        for process in self._some():
            process.stop.set()

    def skip(self) -> None:
        for process in self._some():
            if process.source is not None:
                process.source.skips = self.rng.randint(1, 3)

    def _some(self) -> list[Any]:
        alive = [p for p in self.network.processes if not p.dead and not p.task.done()]
        return [self.rng.choice(alive)] if alive else []

    def ledger(self) -> None:
        self.network.topic.begin_ledger(self.rng.randrange(len(self.network.topic.stored)))

    def end_a_leaf(self) -> None:
        if self.network.leaves:
            self.network.end(self.rng.choice(sorted(self.network.leaves)))

    def register(self) -> None:
        if not self.registered:
            self.network.register([metric("later", LATER, self.source)])
            self.registered = True


def play(
    seed: int,
    operations: Sequence[str] | Callable[[Schedule], Coroutine[Any, Any, None]],
    source: Source = SOURCE,
    *,
    alone: bool = False,
) -> Network:
    """Play a schedule, or a scene, to its end. Raises AssertionError where it comes to none."""
    state = random.getstate()
    random.seed(seed)  # pauses before another try are drawn from it
    schedule = Schedule(seed, source=source, alone=alone)
    try:
        virtual_time.run(operations(schedule) if callable(operations) else schedule.play(operations))
    finally:
        random.setstate(state)
    return schedule.network


def judged(
    network: Network, late: Collection[tuple[int, str]] = ()
) -> tuple[list[dict[str, Any]], dict[tuple[int, str], str]]:
    """The events that count, and the others' reasons by partition and position: the law read once more.

    ``late``: those that may have been late by the watermark of a silent partition or of one that was added.
    When a feeder finds a partition silent depends on the feeder. But it is so only after the time-out
    without messages, and its watermark is then no greater than any other's may be: the time that it is, less
    the lateness. One that was added begins at the watermark of the others, whenever a feeder finds it.
    """
    accepted: list[dict[str, Any]] = []
    refused: dict[tuple[int, str], str] = {}
    timeout = network.plans[0].metric.source.idle_timeout
    for partition, stored in enumerate(network.topic.stored):
        watermark = float("-inf")
        silent = float("-inf")
        if partition >= PARTITIONS:
            latest = max(network.times, default=EPOCH_MS)
            silent = network.now_after() if timeout else latest - LATENESS_MS
        heard = EPOCH_MS * 1000
        for message in stored:
            if timeout is not None and message.published - heard >= timeout:
                silent = max(silent, message.published // 1000 - LATENESS_MS)
            heard = message.published
            event = json.loads(message.payload) if message.payload.startswith(b"{") else None
            if event is None:
                refused[partition, shown(message.place)] = "refused"
            elif event["t"] < watermark or (
                event["t"] < silent and (partition, shown(message.place)) in late
            ):
                refused[partition, shown(message.place)] = "late"
            else:
                accepted.append(event)
                watermark = max(watermark, event["t"] - LATENESS_MS)
    return accepted, refused


def letters_of(letters: Sequence[MemoryMessage]) -> dict[tuple[int, str], str]:
    found = {}
    for letter in letters:
        about = letter.properties
        reason = "late" if about["reason"] == "late" else "refused"
        found[int(about["partition"]), about["position"]] = reason
    return found


def result(network: Network, planned: Plan, label: str) -> NodeWorker:
    """The result worker of a partition, with workers above the network's leaves that are made for it."""
    there = {w: leaf.node for w, leaf in network.leaves.items() if w.endswith(f".{label}")}
    specs = workers(planned, label)
    for spec in specs:
        there.setdefault(spec.worker_id, NodeWorker(spec))
    for spec in specs:
        for child in {child for slot in spec.inputs for child in slot}:
            there[child].subscribe(spec.worker_id, "asking")
    moved = True
    while moved:
        moved = False
        for worker in there.values():
            for subscriber in worker.subscribers():
                message = worker.outgoing(subscriber, 400_000)
                if message is not None and subscriber in there:
                    there[subscriber].receive(message)
                    worker.delivered(subscriber)
                    moved = True
    return there[worker_id(planned.result.name, label)]


def check_answers(network: Network, planned: Plan, accepted: list[dict[str, Any]]) -> None:
    """Compare the answers of a metric with evaluation in process."""
    end = network.now_after()
    by_label = {label: result(network, planned, label) for label in partition_labels(planned)}
    truth = evaluate(planned.metric.expression, accepted, key="id", time="t", time_unit="ms")
    known = {key for worker in by_label.values() for key in worker.keys({})["keys"]}
    assert known == set(truth.keys())
    for key in sorted(known):
        question = {"key": key, "start": end - 10_000_000, "end": end}
        told = by_label[partition_of(key, SOURCE)].ask("spans", question)
        assert told["spans"] == truth.spans(key, question["start"], question["end"]).model_dump()["spans"]


def check(network: Network, *, silent: bool = False) -> None:
    """Compare everything with what it must be.

    ``silent``: partitions were silent or added, so that late is all that is below the watermark of its own
    partition, and what the dead letters say and may say (``judged``).
    """
    letters = letters_of(network.topic.letters)
    late_ones = {place for place, reason in letters.items() if reason == "late"}
    accepted, refused = judged(network, late_ones if silent else ())
    assert letters == refused
    for leaf in network.leaves.values():
        assert "too_late" not in leaf.node.status(), "told something below what it had called final"
    for planned in network.plans:
        check_answers(network, planned, accepted)
    late = sum(reason == "late" for reason in refused.values())
    for leaf in network.leaves.values():
        assert leaf.node.status()["late"] == late


def drawn(seed: int) -> list[str]:
    """Operations that go with a seed."""
    return random.Random(seed).choices(OPERATIONS, k=40)


def ending(seed: int) -> list[str]:
    """Operations, with leaf workers that are ended by hand."""
    return random.Random(seed).choices(ENDING, k=40)


async def back_and_forth(schedule: Schedule) -> None:
    """A partition moves from one feeder to another, and back at the start of a ledger."""
    network = schedule.network

    async def publish(*ages: int) -> None:
        now = network.now_ms()
        events = [{"id": "a", "t": network.unique(now - age), "state": "on", "size": 1} for age in ages]
        network.publish(1, events)
        await asyncio.sleep(10)

    network.feeder()
    await publish(0)
    other = network.feeder()
    await asyncio.sleep(20)
    await publish(0, 2 * LATENESS_MS)  # the other feeds it, and the second event is late
    network.topic.begin_ledger(1)
    await publish(0)
    other.stop.set()
    await asyncio.sleep(20)
    await publish(0)
    await network.settle()


async def ended_with_a_full_inbox(schedule: Schedule) -> None:
    """A leaf is ended that applies nothing, while its feeder waits for it; nobody else is there to notice."""
    network = schedule.network
    applied = network.apply

    async def fed() -> None:
        async with asyncio.timeout(QUIET_SECONDS):
            while not network.all_is_fed():
                await asyncio.sleep(0.5)

    network.feeder(batch=1)
    schedule.publish()
    await fed()
    network.apply = lambda _: None  # type: ignore[method-assign]
    for _ in range(3 * OUTSTANDING):
        schedule.publish()
        await asyncio.sleep(1)
    network.apply = applied  # type: ignore[method-assign]
    for worker in sorted(network.leaves):
        network.end(worker)
    await fed()


def is_found(operations: Callable[[int], list[str]], seeds: Iterable[int]) -> bool:
    """Whether one of these schedules shows a fault."""
    for seed in seeds:
        try:
            check(play(seed, operations(seed)))
        except AssertionError:
            return True
    return False


@example(284006, ["start", "publish", "wait", "kill", "wait", "wait", "start and kill", "wait long"])
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(OPERATIONS), min_size=5, max_size=60))
def test_nothing_is_lost_or_counted_twice(seed: int, operations: list[str]) -> None:
    check(play(seed, operations))


def test_a_partition_comes_back_at_a_ledgers_start() -> None:
    check(play(0, back_and_forth))


def test_an_ended_leaf_is_not_waited_for() -> None:
    check(play(1, ended_with_a_full_inbox))


def test_the_same_seed_plays_the_same() -> None:
    first, second = (play(7, drawn(7)) for _ in range(2))
    assert [p.steps for p in first.processes] == [p.steps for p in second.processes]
    assert first.topic.stored == second.topic.stored


# The faults that docs/chaos.md tells of, and others of their kind, come back when their mends are taken out.


def test_feeding_on_at_a_ledgers_start_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feeder that gets a partition back may not go on from where it had been itself."""
    monkeypatch.setattr(Order, "_goes_on", lambda _, __, seen, first: seen.is_next(first))
    with pytest.raises(AssertionError):
        check(play(0, back_and_forth))


def test_taking_the_word_of_others_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feeder killed within its first batch leaves the commit leaf with nothing, and the others ahead."""
    assert not is_found(drawn, (71, 119))
    with_all = fed_group.resume
    monkeypatch.setattr(
        fed_group,
        "resume",
        lambda first, told: with_all(first, [r for r in told if r.offset != SILENT.offset]),
    )
    assert is_found(drawn, (71, 119))


def test_feeding_beyond_a_gap_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the source holds and did not deliver must be read from the past."""

    async def never(*_: object) -> tuple[bool, None]:
        return False, None

    monkeypatch.setattr(Takeover, "_is_behind", never)
    assert is_found(drawn, range(90))


def test_feeding_a_leaf_that_is_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf that was ended and started again needs its past before it is sent anything."""

    async def look_up(self: Any, worker: str) -> Run | None:
        run: Run | None = await self._workers.run_of(worker)
        if run is not None:
            self._runs[worker] = run
        return run

    assert not is_found(ending, RIGHT)
    monkeypatch.setattr(Leaves, "_look_up", look_up)
    assert is_found(ending, RIGHT)


def test_an_ended_leaf_always_gets_its_past() -> None:
    """Of leaves that all lack something, one that has lost everything gets its past, too."""
    assert not is_found(ending, range(58))


def test_an_ended_leaf_gets_its_past_through_kills() -> None:
    """Schedules of a leaf ended by hand and feeders killed in its backfill."""
    assert not is_found(ending, (47, 147, 232, 250, 311, 335, 404))


def test_an_ended_leaf_between_two_feeders_gets_its_past() -> None:
    """A schedule of a leaf ended by hand while another partition of its topic changes hands."""
    assert not is_found(ending, (58,))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), operations=st.lists(st.sampled_from(SILENT_ONES), min_size=5, max_size=60)
)
@pytest.mark.parametrize("source", [SOURCE, IDLE], ids=["added", "idle"])
def test_silent_and_added_partitions_lose_nothing(seed: int, operations: list[str], source: Source) -> None:
    """What has no dead letter counts, for every leaf."""
    check(play(seed, operations, source), silent=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(ENDING), min_size=5, max_size=60))
def test_a_feeder_by_itself_loses_nothing(seed: int, operations: list[str]) -> None:
    """As on the embedded broker: with kills, and leaves that are ended by hand."""
    check(play(seed, operations, alone=True))
