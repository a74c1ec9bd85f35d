"""Compaction, one case at a time: what a worker keeps, refuses and says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle.events import Event
from tests.properties.batches import batch_of
from tests.runtime.network import Network
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.errors import QuestionError
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan

S = 1_000_000
PLAYING = 'duration_where(latest_event_to_state(s) == "x")'


class _One:
    """One metric in one partition, fed a second at a time, all settled after each batch."""

    def __init__(self, expression: str = PLAYING, retention: int | None = None) -> None:
        source = Source(topic="t", key="k", time="t", time_unit="s")
        metric = Metric(name="m", source=source, expression=expression, retention=retention)
        self.network = Network(plan(metric), lambda n: 0)
        self.workers = self.network.workers
        self.names = [f"{node.name}.p0" for node in self.network.plan.nodes]
        self._count = 0

    def feed(self, *events: tuple[str, int, str], mark: int | None, settle: bool = True) -> None:
        """(key, second, value of column s); ``mark``: the watermark afterwards, in seconds."""
        batch = []
        for key, time, value in events:
            self._count += 1
            batch.append(Event(key, time * S, (0, 0, self._count), {"s": value}))
        self._count += 1
        progress = Progress(0, 0, self._count, None if mark is None else mark * S)
        self.network.feed(batch_of(batch), (progress,))
        if settle:
            self.network.settle()

    def compact(self, early: int | None = None) -> None:
        for worker in self.workers.values():
            worker.compact(None if early is None else early * S)

    def carry_over(self) -> None:
        for name in self.names:
            self.network._carry_over(name)

    @property
    def leaf(self) -> Any:
        return self.workers[self.names[0]]

    @property
    def result(self) -> Any:
        return self.workers[self.names[-1]]


def _flipping(one: _One, until: int, mark: int | None) -> None:
    """Key a is "x" in [0, 1), "y" in [1, 2), "x" in [2, 3) and so on."""
    one.feed(*(("a", t, "xy"[t % 2]) for t in range(until)), mark=mark)


def test_without_a_watermark_nothing_is_forgotten() -> None:
    """A silent source partition keeps everything provisional."""
    one = _One(retention=0)
    _flipping(one, 10, None)
    one.compact()
    assert one.result.status()["answerable_from"] is None
    assert one.result.ask("value_at", {"key": "a", "at": 3})["value"] == 2
    assert one.leaf.status()["events"] == 10


def test_inputs_are_compacted_whatever_the_retention() -> None:
    """Without a retention every instant stays answerable, though events and inputs are forgotten."""
    one = _One()
    _flipping(one, 100, 90)
    one.compact()
    assert one.leaf.status()["events"] == 10
    assert one.result.status()["input_change_points"] == 11
    assert [one.result.ask("value_at", {"key": "a", "at": t})["value"] for t in (0, 1, 50, 99)] == [
        0,
        1,
        25,
        50,
    ]
    assert one.result.status()["answerable_from"] is None
    assert not one.result.status()["limited"]


def test_instants_below_the_retention_are_refused() -> None:
    """The refusal names the key, the instant, from when on it is kept, the retention, and the way out."""
    one = _One(retention=20 * S)
    _flipping(one, 100, 90)
    one.compact()
    status = one.result.status()
    assert status["answerable_from"] == 70 * S
    assert status["retention"] == 20 * S
    assert not status["limited"]
    assert status["change_points"] == 31
    # The piece that holds just before the horizon is there, with its own start.
    assert one.result.ask("value_at", {"key": "a", "at": 69})["since"] == 69
    assert one.result.ask("value_at", {"key": "a", "at": 69.5})["value"] == 35
    for ask, question in (
        ("value_at", {"at": 68}),
        ("spans", {"start": 68, "end": 80}),
        ("change", {"start": 0, "end": 80}),
        ("change", {"start": 0, "end": 80, "every": "10s"}),
    ):
        with pytest.raises(QuestionError) as caught:
            one.result.ask(ask, {"key": "a", **question})
        for words in ("'a'", "69", "70", "retention is 20s", "raise the retention"):
            assert words in str(caught.value)
    # What x was just before the range is part of its change.
    with pytest.raises(QuestionError, match=r"at 68\.999999 is no longer kept"):
        one.result.ask("change", {"key": "a", "start": 69, "end": 80})
    assert one.result.ask("change", {"key": "a", "start": 69.000001, "end": 80})["change"] == 5
    assert one.result.ask("change", {"key": "a", "start": 70, "end": 80})["change"] == 5
    assert [s["start"] for s in one.result.ask("spans", {"key": "a", "start": 70, "end": 73})["spans"]] == [
        70,
        71,
        72,
    ]


def test_before_an_origin_above_the_horizon_is_null() -> None:
    """Nothing of it was forgotten."""
    one = _One(retention=20 * S)
    _flipping(one, 100, 60)
    one.feed(("late", 75, "x"), mark=90)
    one.compact()
    assert one.result.ask("value_at", {"key": "late", "at": 61}) == {
        "key": "late",
        "at": 61,
        "value": None,
        "since": None,
        "until": 75,
        "slope": None,
        "final": True,
    }


def test_early_compaction_is_a_shorter_retention() -> None:
    """``limited`` until the metric's own horizon has caught up; the watermark is the most that can go."""
    one = _One(retention=80 * S)
    _flipping(one, 100, 90)
    one.compact(early=50)
    assert one.result.status()["answerable_from"] == 50 * S
    assert one.result.status()["limited"]
    one.compact(early=5_000)
    assert one.result.status()["answerable_from"] == 90 * S
    one.feed(*(("a", t, "xy"[t % 2]) for t in range(100, 200)), mark=190)
    one.compact()
    assert one.result.status()["answerable_from"] == 110 * S
    assert not one.result.status()["limited"]
    assert one.result.ask("value_at", {"key": "a", "at": 199})["value"] == 100


def test_without_a_retention_a_limited_worker_names_the_limit() -> None:
    """There is no retention to raise."""
    one = _One()
    _flipping(one, 100, 90)
    one.compact(early=50)
    assert one.result.status()["limited"]
    with pytest.raises(QuestionError, match="its limit; more partitions or a retention"):
        one.result.ask("value_at", {"key": "a", "at": 3})


def test_the_horizon_keeps_a_share_of_change_points() -> None:
    """It never lies above the watermark, and compacting there leaves about the share asked for."""
    one = _One()
    assert one.result.horizon_keeping(0.5) is None
    _flipping(one, 100, 80)
    assert one.result.horizon_keeping(0.25) == 60 * S
    assert one.result.horizon_keeping(1) == 0
    assert one.result.horizon_keeping(0) <= 80 * S
    before = one.result.status()
    one.result.compact(one.result.horizon_keeping(0.25))
    after = one.result.status()
    assert after["change_points"] == 41
    assert after["bytes"] < before["bytes"]


def test_an_answer_at_the_watermark_is_provisional() -> None:
    """An event at exactly the watermark is accepted, and may change the answer there, not one microsecond
    below."""
    one = _One()
    _flipping(one, 100, 90)
    micro = {"key": "a", "unit": "us"}
    assert one.result.ask("value_at", {**micro, "at": 90 * S - 1})["final"]
    assert not one.result.ask("value_at", {**micro, "at": 90 * S})["final"]
    assert one.result.ask("spans", {**micro, "start": 80 * S, "end": 90 * S})["final"]
    assert not one.result.ask("spans", {**micro, "start": 80 * S, "end": 90 * S + 1})["final"]
    assert one.result.ask("change", {**micro, "start": 80 * S, "end": 90 * S})["final"]
    assert not one.result.ask("change", {**micro, "start": 80 * S, "end": 90 * S + 1})["final"]
    one.compact()
    just_below = one.result.ask("value_at", {**micro, "at": 90 * S - 1})
    one.feed(("a", 90, "y"), mark=90)
    assert one.result.ask("value_at", {**micro, "at": 90 * S - 1})["value"] == just_below["value"]
    assert one.result.ask("value_at", {**micro, "at": 91 * S})["slope"] == 0


def test_what_a_subscriber_lacks_is_kept() -> None:
    """However far the worker compacts; unless the subscriber is gone."""
    one = _One(retention=0)
    one.network.settle()
    _flipping(one, 10, None)
    one.feed(*(("a", t, "xy"[t % 2]) for t in range(10, 100)), mark=100, settle=False)
    one.network._feed_leaf(one.names[0])
    one.leaf.compact()
    # Rows from the tenth second on wait for the subscriber, and the one before them.
    assert one.leaf.status()["answerable_from"] == 10 * S
    one.network.settle()
    assert one.result.ask("value_at", {"key": "a", "at": 99})["value"] == 50
    one.leaf.compact()
    assert one.leaf.status()["change_points"] == 1
    one.feed(*(("a", t, "xy"[t % 2]) for t in range(100, 110)), mark=110, settle=False)
    one.network._feed_leaf(one.names[0])
    one.leaf.compact(gone=[one.names[1]])
    assert one.leaf.status()["change_points"] == 1


def test_a_late_worker_begins_where_its_input_begins() -> None:
    """It cannot know what its input has forgotten."""
    one = _One(retention=20 * S)
    leaf, compare = one.names[0], one.names[1]
    _flipping(one, 100, 90)
    one.compact()
    fresh = type(one.leaf)(one.network.specs[compare])
    one.leaf.subscribe(compare, "late")
    fresh.receive(one.leaf.outgoing(compare, 400_000))
    assert fresh.status()["answerable_from"] == 70 * S
    assert fresh.ask("value_at", {"key": "a", "at": 70})["value"] is True
    with pytest.raises(QuestionError, match="no longer kept"):
        fresh.ask("value_at", {"key": "a", "at": 60})
    assert leaf in fresh.inbound


def test_a_worker_left_behind_takes_nothing_more() -> None:
    """With a gap in what it was told every sum would be wrong; its final answers stay."""
    one = _One(retention=0)
    _flipping(one, 10, 5)
    compare = one.names[1]
    one.leaf.unsubscribe(compare)
    one.feed(*(("a", t, "xy"[t % 2]) for t in range(10, 100)), mark=90, settle=False)
    one.network._feed_leaf(one.names[0])
    one.leaf.compact()
    one.leaf.subscribe(compare, "again")
    one.network.settle()
    worker = one.workers[compare]
    assert one.leaf.status()["answerable_from"] == 90 * S
    assert "has compacted what was before 1970-01-01T00:01:30" in worker.status()["cut_off"][one.names[0]]
    assert "up to 1970-01-01T00:00:05" in worker.status()["cut_off"][one.names[0]]
    assert worker.status()["watermark"] == 5 * S
    assert one.result.ask("value_at", {"key": "a", "at": 4})["value"] == 2
    restored = type(worker).restore(one.network.specs[compare], worker.snapshot(100))
    assert restored.status()["cut_off"] == worker.status()["cut_off"]


def test_a_worker_that_had_all_may_resubscribe() -> None:
    """What its input has forgotten is final, and the worker has it."""
    one = _One(retention=0)
    _flipping(one, 100, 90)
    one.leaf.compact()
    one.leaf.subscribe(one.names[1], "again")
    one.network.settle()
    assert "cut_off" not in one.workers[one.names[1]].status()
    one.feed(("a", 100, "y"), mark=100)
    assert one.result.ask("value_at", {"key": "a", "at": 100})["value"] == 50
    assert one.workers[one.names[1]].ask("value_at", {"key": "a", "at": 3})["value"] is False


def test_final_answers_stay_while_an_edge_reopens() -> None:
    """The first message of a snapshot takes everything back, and the rest of it comes later."""
    one = _One()
    one.feed(*((key, t, "xy"[t % 2]) for t in range(20) for key in "abc"), mark=15)
    compare = one.workers[one.names[1]]
    one.leaf.subscribe(one.names[1], "again")
    compare.receive(one.leaf.outgoing(one.names[1], 1))
    for key in "abc":
        assert [compare.ask("value_at", {"key": key, "at": t})["value"] for t in range(15)] == [
            t % 2 == 0 for t in range(15)
        ]


def test_strings_that_are_no_longer_held_take_no_room() -> None:
    """A column with ever new values does not make the state grow."""
    one = _One("latest_event_to_state(s) == latest_event_to_state(r)", retention=10 * S)
    sizes = []
    for round_ in range(12):
        at = 100 * round_
        one.feed(*(("a", at + t, f"value {at + t} of many") for t in range(100)), mark=at + 90)
        one.compact()
        one.carry_over()
        sizes.append([len(one.workers[name].snapshot(1 << 20)[0]) for name in one.names])
    assert max(sizes[-1]) < 1.2 * max(sizes[3])
