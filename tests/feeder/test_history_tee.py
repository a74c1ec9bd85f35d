"""Histories of whole feeders at random: killed at any moment, with a store that is away at times, over a
topic whose acknowledged messages may be gone.

Whatever happens, every event is in the store once, with the verdict that the law gives it, for every source
definition.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
import structlog
from hypothesis import given, settings, strategies as st

from feeder.positions import Offset
from feeder.source.memory import MemoryMessage
from feeder.storing import history_tee
from feeder.storing.following import CatchUp
from feeder.storing.history_tee import HistoryTee
from feeder.storing.stored_past import StoredPast
from tests.feeder import virtual_time
from tests.feeder.test_feeders import (
    IDLE,
    LATENESS_MS,
    LATER,
    OPERATIONS,
    SOURCE,
    Schedule,
    check_answers,
    judged,
    metric,
)
from tests.history.model_store import ModelStore
from timeline_workers.history.model import Outcome, Position, Verdict, definition_of

PATIENT_SECONDS = 2_000.0
# Another source definition, for which more is late.
LATEST = SOURCE.model_copy(update={"allowed_lateness": LATENESS_MS * 2000})
STRICT = SOURCE.model_copy(update={"allowed_lateness": LATENESS_MS * 500})
HISTORY = (*OPERATIONS, "store away", "store away", "store back", "store back", "trim")


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class HistorySchedule(Schedule):
    """A schedule with a history. ``all``: every message that was ever published."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.network.register([metric("strict", "event_count(size > 1)", STRICT)])
        self.network.history = ModelStore(lambda: 0)
        self.all: dict[Position, MemoryMessage] = {}

    def _publish(self, partition: int) -> None:
        super()._publish(partition)
        for message in self.network.topic.stored[partition]:
            self.all[Position(partition, *message.place)] = message

    def store_away(self) -> None:
        self.network.history_is_away = True

    def store_back(self) -> None:
        self.network.history_is_away = False

    def register(self) -> None:
        """Have metrics applied that need what the broker may have no more, one of a definition of its own."""
        if not self.registered:
            self.network.register([metric("late", LATER, LATEST), metric("later", LATER)])
            self.registered = True

    def skip(self) -> None:
        """What is not delivered may be deleted with what is: left to other tests."""

    def trim(self) -> None:
        """The broker deletes what was acknowledged."""
        topic = self.network.topic
        for partition, place in topic.group("feeders").acknowledged.items():
            topic.stored[partition] = topic.after(partition, place)

    async def settle(self) -> None:
        """Let the store answer and one feeder feed, until leaves and history have all."""
        self.store_back()
        for process in self.network.processes:
            process.kill()
        self.network.feeder()
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENT_SECONDS
        while any(self.missing().values()) or not self.network.all_is_fed(self.ends()):
            assert loop.time() < until, (self.missing(), self.network.behind())
            await asyncio.sleep(1.0)

    def ends(self) -> dict[int, Offset]:
        return {at.partition: Offset(at.major, at.minor) for at in sorted(self.all)}

    def missing(self) -> dict[str, list[Position]]:
        history = self.network.history
        assert history is not None
        return {
            name: sorted(self.all.keys() - {at for of, at in history.verdicts if of == name})
            for name in self.definitions()
        }

    def definitions(self) -> dict[str, int]:
        """The source definitions, and the lateness that each allows, in milliseconds."""
        groups = self.network.topics["events"]
        return {definition_of(g.reading): g.source.allowed_lateness // 1000 for g in groups}

    def check(self) -> None:
        """Compare the store with the law, read once more."""
        history = self.network.history
        assert history is not None
        assert {at: event.payload for (_, at), event in history.raw.items()} == {
            at: message.payload for at, message in self.all.items()
        }
        for name, lateness in self.definitions().items():
            expected = dict(self.law(lateness))
            found = {at: verdict for (of, at), (verdict, _) in history.verdicts.items() if of == name}
            assert {at: plain(v) for at, v in found.items()} == expected
            places = history.places.get(name, {})
            assert {p: Offset(at.major, at.minor) for p, at in places.items()} == self.ends()
        assert history.gaps_told == []

    def law(self, lateness: int) -> Iterator[tuple[Position, tuple[Outcome, Any, int | None]]]:
        watermarks: dict[int, float] = {}
        for at in sorted(self.all):
            payload = self.all[at].payload
            event = json.loads(payload) if payload.startswith(b"{") else None
            mark = watermarks.get(at.partition, float("-inf"))
            if event is None:
                yield at, (Outcome.REFUSED, None, None)
            elif event["t"] < mark:
                yield at, (Outcome.LATE, event["id"], event["t"] * 1000)
            else:
                yield at, (Outcome.ACCEPTED, event["id"], event["t"] * 1000)
                watermarks[at.partition] = max(mark, event["t"] - lateness)


def plain(verdict: Verdict) -> tuple[Outcome, Any, int | None]:
    return verdict.outcome, verdict.key, verdict.time


def play(
    seed: int, operations: Sequence[str] | Callable[[HistorySchedule], Coroutine[Any, Any, None]]
) -> HistorySchedule:
    state = random.getstate()
    random.seed(seed)
    schedule = HistorySchedule(seed)
    try:
        virtual_time.run(operations(schedule) if callable(operations) else schedule.play(operations))
    finally:
        random.setstate(state)
    return schedule


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(HISTORY), min_size=5, max_size=60))
def test_every_event_is_stored_once_with_its_verdict(seed: int, operations: list[str]) -> None:
    play(seed, operations).check()


async def away_and_trimmed(schedule: HistorySchedule) -> None:
    """The store is away while the broker deletes what is acknowledged, batch after batch."""
    schedule.start()
    await asyncio.sleep(10)
    schedule.store_away()
    for _ in range(30):
        schedule.publish()
        await asyncio.sleep(5)
        schedule.trim()
    await schedule.settle()


def test_what_the_store_lacks_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_tee, "QUEUED", 5)
    play(1, away_and_trimmed).check()
    monkeypatch.setattr(HistoryTee, "lacks", lambda _: False)
    with pytest.raises(AssertionError):
        play(1, away_and_trimmed)


def test_after_patience_there_is_a_gap() -> None:
    """What was acknowledged without the store, and deleted, lies in gaps; all else is stored."""

    async def impatient(schedule: HistorySchedule) -> None:
        schedule.network.patience = 60.0
        schedule.publish()
        schedule.start()
        await asyncio.sleep(30)
        schedule.store_away()
        for _ in range(20):
            schedule.publish()
            await asyncio.sleep(10)
        schedule.trim()
        schedule.store_back()
        await asyncio.sleep(100)
        schedule.publish()
        await asyncio.sleep(100)

    schedule = play(2, impatient)
    history = schedule.network.history
    assert history is not None
    lost = schedule.all.keys() - {at for _, at in history.raw}
    assert len(lost) > 10
    times = [verdict[2] for at, verdict in schedule.law(LATENESS_MS) if at in lost and verdict[2] is not None]
    assert all(time < max(gap.until or 0 for gap in history.gaps_told) for time in times)
    # What lay below was late already.
    earliest = min(gap.since for gap in history.gaps_told if gap.since is not None)
    assert sum(time >= earliest for time in times) > 10
    for name, lateness in schedule.definitions().items():
        found = {at: plain(verdict) for (of, at), (verdict, _) in history.verdicts.items() if of == name}
        assert found == {at: v for at, v in schedule.law(lateness) if at not in lost}


async def applied_later(schedule: HistorySchedule) -> None:
    """Metrics are applied when the broker has deleted most of the past."""
    schedule.start()
    for _ in range(12):
        schedule.publish()
        await asyncio.sleep(10)
    schedule.trim()
    schedule.register()
    await asyncio.sleep(10)
    schedule.start_and_kill()
    schedule.publish()
    await asyncio.sleep(10)
    await schedule.settle()
    assert sum(map(len, schedule.network.topic.stored)) < len(schedule.all) / 2


def test_a_later_metric_gets_what_the_broker_has_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers and verdicts are those of a metric that was there from the beginning."""
    schedule = play(3, applied_later)
    schedule.check()
    topic = schedule.network.topic
    for partition in range(len(topic.stored)):
        topic.stored[partition] = [
            schedule.all[at] for at in sorted(schedule.all) if at.partition == partition
        ]
    accepted, _ = judged(schedule.network)
    for planned in schedule.network.plans:
        if planned.metric.source == SOURCE:
            check_answers(schedule.network, planned, accepted)

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(StoredPast, "_first_stored", nothing)
    with pytest.raises(AssertionError):
        play(3, applied_later)


def test_watermarks_that_rise_in_silence_are_stored() -> None:
    """Of two partitions one brings nothing: its watermark rises, and what is final is known."""

    async def one_is_silent(schedule: HistorySchedule) -> None:
        schedule.network.register([metric("idle", LATER, IDLE)])
        schedule.start()
        for _ in range(5):
            schedule.publish_to_one()
            await asyncio.sleep(3)
        await asyncio.sleep(60)
        await schedule.settle()

    schedule = play(4, one_is_silent)
    history = schedule.network.history
    assert history is not None
    [name] = [d for d in schedule.definitions() if None not in history.marks[d].values()]
    [group] = [g for g in schedule.network.topics["events"] if definition_of(g.reading) == name]
    assert group.source == IDLE
    leaf = schedule.network.leaves[group.commit_leaf()[0]]
    assert history.marks[name] == {p: at.watermark for p, at in schedule.network.reached(leaf).items()}


def test_the_past_catches_up_with_a_steady_feeding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though more comes all the time than the store took by then: who feeds waits for it."""
    monkeypatch.setattr(history_tee, "QUEUED", 4)
    monkeypatch.setattr(history_tee, "AT_ONCE", 1)
    waits = 0
    falls_back = CatchUp.falls_back

    def counted(one: CatchUp, allowed: int) -> bool:
        nonlocal waits
        waits += (behind := falls_back(one, allowed))
        return behind

    monkeypatch.setattr(CatchUp, "falls_back", counted)

    async def steady(schedule: HistorySchedule) -> None:
        schedule.start()
        schedule.publish()
        await asyncio.sleep(5)
        schedule.store_away()
        for _ in range(60):
            schedule.publish()
            await asyncio.sleep(1)
        schedule.store_back()
        for _ in range(300):
            schedule.publish()
            await asyncio.sleep(0.05)
        await asyncio.sleep(600)

    play(5, steady).check()
    assert waits
