"""Cases of the protocol about load, flow and waiting: many events, missing acknowledgements, slow stores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st

from timeline_workers.playback.codes import CloseCode, DvrCode
from timeline_workers.playback.items import ChannelLevels, OpenedChannel, Record, View
from timeline_workers.playback.memory_recording import MemoryRecording
from timeline_workers.playback.playhead import Settings
from timeline_workers.playback.reads import LookAnswer, NeighbourRead, Read, ReadFailed, WindowRead
from timeline_workers.playback.recording import ChannelReader, ChannelWindow
from timeline_workers.playback.requests import Channel

from .virtual import MS, SECOND, Virtual, records, short, ten

EVENTS = {"channel": "ev", "events": "ten"}


class Even:
    """A recording of ``count`` events, one every ``every`` microseconds from 0 on; it holds none of them."""

    def __init__(self, count: int, every: int) -> None:
        self.count_of, self.every, self.now = count, every, 0
        self.info = OpenedChannel("ev", "events")

    async def open(self, channel: Channel, view: View) -> ChannelReader:
        return self

    async def seq(self) -> int:
        return 1

    async def look(
        self, readers: Sequence[ChannelReader], view: View, since: int | None, upto: int | None
    ) -> LookAnswer:
        return LookAnswer(1, 0, (self.count_of - 1) * self.every, 0)

    def _upto(self, instant: int) -> int:
        return min(instant // self.every + 1, self.count_of)

    async def window(self, view: View, after: int, to: int, limit: int) -> ChannelWindow:
        low, high = self._upto(after), self._upto(to)
        if high - low > limit:
            high = low + limit
            to = (high - 1) * self.every
        found = (Record(i * self.every, i * self.every, "k", {"n": i}, i) for i in range(low, high))
        return ChannelWindow(to, tuple(found))

    async def count(self, view: View, after: int, to: int) -> int:
        return self._upto(to) - self._upto(after)

    async def neighbour(self, view: View, at: int, back: bool) -> int | None:
        raise NotImplementedError

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        raise NotImplementedError


def acknowledging(virtual: Virtual, ms: float, every: float = 50) -> None:
    """Let the clock run, and acknowledge all frames now and then."""
    for _ in range(round(ms / every)):
        virtual.run(every)
        if frames := virtual.of("frame"):
            virtual.say("ack", frame=frames[-1][1]["frame"])


def test_d11_a_fast_stream_is_thinned_and_counted() -> None:
    virtual = Virtual(Even(10_000, MS)).open(EVENTS).say("limits", records=100)  # type: ignore[arg-type]
    virtual.say("play", start=0, end=9.999, speed=100).run(200)
    frames = [message["channels"]["ev"] for _, message in virtual.of("frame")]
    assert 2 <= len(frames) <= 12
    assert sum(part["count"] for part in frames) == 10_000
    assert sum(len(part["records"]) for part in frames) <= 1_200
    assert all(part["count"] == len(part["records"]) + part["skipped"] for part in frames)
    assert virtual.said[-1][1]["status"] == "ended"


def test_a_thinned_frame_is_an_even_sample() -> None:
    virtual = Virtual(Even(10_000, MS)).open(EVENTS).say("limits", records=100, frames_per_second=1)  # type: ignore[arg-type]
    virtual.say("play", start=0, end=9.999, speed=5).run(2_000)
    part = virtual.of("frame")[1][1]["channels"]["ev"]
    numbers = [record[2]["n"] for record in part["records"]]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    assert (part["count"], len(numbers)) == (5_000, 100)
    assert max(steps) <= 2 * min(steps)
    assert numbers[0] - 1 <= max(steps)
    assert 5_000 - numbers[-1] <= max(steps)


def test_d12_without_acknowledgement_nothing_is_queued() -> None:
    recording = MemoryRecording()
    for i in range(51):
        recording.add_event("ten", i * 100 * MS, "k", {"n": i})
    virtual = Virtual(recording, settings=Settings(unacknowledged=4)).open(EVENTS)
    virtual.say("play", start=0, end=5).run(6_000)
    assert len(virtual.of("frame")) == 4
    assert virtual.of("state")[-1][1]["status"] == "playing"
    virtual.take()
    virtual.say("ack", frame=4)
    assert short(virtual.said) == [
        (6_000, " ".join(["frame", *(f"{i:02}" for i in range(4, 51))])),
        (6_000, "state ended"),
    ]


def test_d13_a_slow_store_is_waited_for() -> None:
    waits = iter([2_000 * MS])
    virtual = Virtual(ten(), delay=lambda read: next(waits, 0) if isinstance(read, WindowRead) else 0)
    virtual.open(EVENTS).take()
    virtual.say("play", start=0, end=10).run(3_000)
    assert short(virtual.said) == [
        (0, "state playing"),
        (200, "state buffering"),
        (2_000, "state playing"),
        (2_000, "frame 00"),
        (3_000, "frame 01"),
    ]
    assert virtual.run(500).say("limits").said[-1][1]["position"] == 1.5


@pytest.mark.parametrize("wait", [1, 50, 199])
def test_a_quick_read_is_not_told(wait: int) -> None:
    """What comes within 200 ms is shown late, and the clock has gone on."""
    waits = iter([wait * MS])
    virtual = Virtual(ten(), delay=lambda read: next(waits, 0) if isinstance(read, WindowRead) else 0)
    virtual.open(EVENTS).take()
    virtual.say("play", start=0, end=10).run(1_100)
    assert short(virtual.said) == [(0, "state playing"), (wait, "frame 00"), (1_000, "frame 01")]


MOVES = st.lists(
    st.tuples(
        st.integers(0, 2_000_000),
        st.one_of(
            st.just({"action": "pause"}),
            st.just({"action": "resume"}),
            st.sampled_from([0.01, 0.1, 1 / 3, 1, 1.5, 7, 123.456]).map(
                lambda speed: {"action": "speed", "speed": speed}
            ),
        ),
    ),
    max_size=20,
)


@given(MOVES)
def test_d14_the_position_is_exact(moves: list[tuple[int, dict[str, Any]]]) -> None:
    """Start + speed · time, summed over the stretches in which it plays, to the microsecond."""
    virtual = Virtual(MemoryRecording()).open(EVENTS).say("play", start=5, end=5_000_000)
    expected, speed, plays = Fraction(5 * SECOND), Fraction(1), True
    for wait, move in moves:
        virtual.run(wait / MS)
        if plays:
            expected += speed * wait
        virtual.say(**move)
        plays = {"pause": False, "resume": True}.get(move["action"], plays)
        if move["action"] == "speed":
            speed = Fraction(str(move["speed"]))
        position = virtual.said[-1][1]["position"]
        assert abs(Fraction(str(position)) * SECOND - expected) <= 1


@given(MOVES, st.lists(st.integers(0, 900_000), max_size=30))
def test_d14_waiting_does_not_move_the_playhead(
    moves: list[tuple[int, dict[str, Any]]], waits: list[int]
) -> None:
    """From one state to the next it moves by speed · time while it plays, less where it has waited, and not
    at all while it does not. Where a read came within 200 ms, what was due meanwhile is made up for.
    """
    slow = iter(waits)
    virtual = Virtual(ten(), delay=lambda read: next(slow, 0) if isinstance(read, WindowRead) else 0)
    virtual.open(EVENTS).say("play", start=0, end=10_000_000)
    for wait, move in moves:
        virtual.run(wait / MS).say(**move)
    states = virtual.of("state")
    for (before, one), (after, other) in itertools.pairwise(states):
        moved = Fraction(str(other["position"])) - Fraction(str(one["position"]))
        most = Fraction(str(one["speed"])) * round((after - before) * MS) / SECOND
        slack = Fraction(str(one["speed"])) / 5 + Fraction(2, SECOND)
        if one["status"] != "playing":
            assert moved == 0
        else:
            assert 0 <= moved <= most + slack


def test_d21_a_day_in_a_minute() -> None:
    recording = Even(1_000_000, 86_400)
    virtual = Virtual(recording, settings=Settings(unacknowledged=100_000))  # type: ignore[arg-type]
    virtual.open(EVENTS).say("play", start=0, end=86_400, speed=1_440)
    count = shown = frames = most = 0
    for _ in range(60):
        virtual.run(1_000)
        head = virtual.player._head
        most = max(most, len(head.ahead.items) + head.due.held)
        for _, message in virtual.of("frame"):
            part = message["channels"]["ev"]
            frames += 1
            count += part["count"]
            shown += len(part["records"])
            assert part["count"] == len(part["records"]) + part["skipped"]
        ended = virtual.of("state")[-1:]
        virtual.take()
        virtual.asked.clear()
    assert count == 1_000_000
    assert shown <= count
    assert frames <= 6_001
    assert most <= 2_000
    [(ms, state)] = ended
    assert state["status"] == "ended"
    assert abs(ms - 60_000) <= 10


def test_a_blocked_player_holds_little() -> None:
    """While nothing is acknowledged, what comes due is counted and sampled, not kept."""
    virtual = Virtual(Even(100_000, MS), settings=Settings(unacknowledged=1))  # type: ignore[arg-type]
    virtual.open(EVENTS).say("play", start=0, end=99.999, speed=10).run(9_900)
    head = virtual.player._head
    assert head.due.count > 90_000
    assert len(head.ahead.items) + head.due.held <= 2_000
    virtual.run(500).take()
    [(_, frame), (_, ended)] = virtual.say("ack", frame=1).take()
    assert frame["channels"]["ev"]["count"] == 99_999
    assert len(frame["channels"]["ev"]["records"]) <= 200
    assert ended["status"] == "ended"


def test_without_acknowledgement_for_a_minute_it_closes() -> None:
    virtual = Virtual(Even(100, SECOND), settings=Settings(unacknowledged=32))  # type: ignore[arg-type]
    virtual.open(EVENTS).say("play", start=0, end=200).run(30_990)
    virtual.run(60_000)
    assert virtual.closed is None
    virtual.run(100)
    assert virtual.closed is CloseCode.NOT_ACKNOWLEDGED
    assert len(virtual.of("frame")) == 32


def test_frames_keep_their_distance() -> None:
    """At 30 frames a second none is less than 33 ms after the last, and no record is over 34 ms late."""
    virtual = Virtual(Even(1_000, 7 * MS)).open(EVENTS).say("limits", frames_per_second=30)  # type: ignore[arg-type]
    virtual.say("play", start=0, end=6.993)
    acknowledging(virtual, 7_000)
    sent = virtual.of("frame")
    instants = [ms for ms, _ in sent]
    assert all(after - before >= 33 for before, after in itertools.pairwise(instants[:-1]))
    for ms, frame in sent:
        assert all(0 <= ms - record[0] * 1_000 <= 34 for record in records(frame))
    assert sum(len(records(frame)) for _, frame in sent) == 1_000


def test_a_store_that_is_down_is_told_once() -> None:
    """Reads fail from 1 s to 4 s: one error, buffering, and all records once when it is back."""
    down = [False]
    failed = ReadFailed(DvrCode.STORE_DOWN, "the store does not answer")

    def answer(read: Read) -> ReadFailed | None:
        return failed if down[0] and not isinstance(read, NeighbourRead) else None

    virtual = Virtual(ten(), answer=answer).open(EVENTS)
    virtual.take()
    virtual.say("play", start=0, end=9).run(1_000)
    down[0] = True
    virtual.run(3_000)
    down[0] = False
    virtual.run(20_000)
    said = short(virtual.said)
    assert [what for _, what in said].count("error store-down") == 1
    assert [what for _, what in said if what.startswith("frame")] == [f"frame {i:02}" for i in range(10)]
    states = [what for _, what in said if what.startswith("state")]
    assert states == ["state playing", "state buffering", "state playing", "state ended"]
