"""Random sequences of requests over random recordings and slow stores: what always holds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from hypothesis import example, given, strategies as st

from timeline_workers.playback.items import NodeOfChannel, Piece
from timeline_workers.playback.memory_recording import MemoryRecording
from timeline_workers.playback.playhead import Settings

from .virtual import MS, SECOND, Virtual

EVENTS = {"channel": "ev", "events": "ten"}
LEVELS = {"channel": "m", "metric": "m"}

INSTANTS = st.integers(0, 20_000).map(lambda ms: ms / 1_000)
SPEEDS = st.sampled_from([0.5, 1, 3, 20, 1_000])
FLAGS = st.booleans()


def said(action: str, **fields: Any) -> Any:
    return st.fixed_dictionaries({"action": st.just(action), **fields})


REQUESTS = st.one_of(
    said("play", start=INSTANTS, end=INSTANTS, speed=SPEEDS),
    said("play", start=INSTANTS, end=INSTANTS, loop=FLAGS),
    said("play", start=INSTANTS),
    said("play"),
    said("pause"),
    said("resume"),
    said("stop"),
    said("speed", speed=SPEEDS),
    said("seek", to=st.one_of(INSTANTS, st.sampled_from(["start", "end", "live"]))),
    said("step", by=st.sampled_from(["change", "event", "1s", "250ms"]), back=FLAGS),
    said("loop", **{"from": INSTANTS, "to": INSTANTS}),
    said("loop", off=st.just(True)),
    said("at", at=INSTANTS),
    said("limits", records=st.sampled_from([1, 5, 200]), frames_per_second=st.sampled_from([1, 30, 100])),
    said("limits", idle_limit=st.sampled_from([None, 1, 0.1])),
    said("close", channels=st.just(["m"])),
    said("open", channels=st.just([LEVELS])),
    said("rewind"),
)
MOVES = st.lists(
    st.tuples(st.sampled_from([0, 1, 10, 150, 1_000, 4_000]), REQUESTS, FLAGS), min_size=1, max_size=15
)
TIMES = st.lists(st.integers(0, 20_000), max_size=60)
DELAYS = st.lists(st.sampled_from([0, 0, 5, 150, 500]), min_size=1, max_size=20)


def recorded(times: Sequence[int]) -> MemoryRecording:
    """An event, and a change of one node, at each of ``times`` (ms)."""
    recording = MemoryRecording()
    recording.add_metric("m", [NodeOfChannel("n", "n", "x", "numeric")])
    for i, ms in enumerate(times):
        recording.add_event("ten", ms * MS, "k", {"n": i})
    recording.revise("m", "n", "k", 0, [Piece(ms * MS, ms, 0) for ms in sorted(set(times))])
    return recording


def played(times: Sequence[int], moves: Any, delays: Sequence[int], **settings: Any) -> Virtual:
    """A player to which all of that was said, each request with its number as id."""
    slow = itertools.cycle(delays)
    virtual = Virtual(recorded(times), delay=lambda read: next(slow) * MS, settings=Settings(**settings))
    virtual.open(EVENTS, LEVELS, id="first").run(2_000)
    for number, (ms, request, acknowledges) in enumerate(moves):
        virtual.run(ms)
        if acknowledges and (frames := virtual.of("frame")):
            virtual.say("ack", frame=frames[-1][1]["frame"])
        virtual.text(json.dumps({**request, "id": number}))
    return virtual.run(8_000)


@given(TIMES, MOVES, DELAYS)
def test_one_reply_to_each_request_in_order(times: list[int], moves: Any, delays: list[int]) -> None:
    virtual = played(times, moves, delays)
    replies = [message["reply"] for _, message in virtual.said if "reply" in message]
    assert replies == ["first", *range(len(moves))]
    assert virtual.closed is None


@given(TIMES, MOVES, DELAYS)
def test_epochs_never_go_back(times: list[int], moves: Any, delays: list[int]) -> None:
    """And of each epoch the levels come before the frames, and frames go on from each other."""
    virtual = played(times, moves, delays, unacknowledged=10**9)
    epochs = [message["epoch"] for _, message in virtual.said if "epoch" in message]
    assert epochs == sorted(epochs)
    for _, group in itertools.groupby(virtual.of("frame"), lambda pair: pair[1]["epoch"]):
        frames = [frame for _, frame in group]
        assert all(one["to"] == other["from"] for one, other in itertools.pairwise(frames))
        assert all(frame["from"] <= frame["to"] for frame in frames)


@given(TIMES, MOVES, DELAYS, st.sampled_from([2, 10**9]))
def test_counts_add_up(times: list[int], moves: Any, delays: list[int], window: int) -> None:
    """What a frame counts is what the recording holds in it: nothing is lost, nothing comes twice."""
    virtual = played(times, moves, delays, unacknowledged=window)
    first: dict[int, bool] = {}
    for _, frame in virtual.of("frame"):
        low, high = round(frame["from"] * 1_000_000), round(frame["to"] * 1_000_000)
        is_first = first.setdefault(frame["epoch"], True)
        first[frame["epoch"]] = False
        for part in frame["channels"].values():
            shown = part["records"] if "records" in part else part["changes"]
            assert part["count"] == len(shown) + part["skipped"]
            assert all(low <= round(line[0] * 1_000_000) <= high for line in shown)
        counted = frame["channels"].get("ev", {"count": 0})["count"]
        assert counted == sum((low < ms * MS <= high) or (is_first and ms * MS == low) for ms in times)


@given(TIMES, MOVES, DELAYS)
@example(  # the loop that is left lies behind the end of the window
    times=[],
    moves=[
        (0, {"action": "play"}, False),
        (0, {"action": "play", "start": 0.0}, False),
        (0, {"action": "play", "start": 0.0, "end": 0.0, "speed": 0.5}, False),
        (0, {"action": "play", "start": 0.0, "end": 0.0, "speed": 0.5}, False),
        (0, {"action": "loop", "from": 0.0, "to": 0.001}, False),
        (150, {"action": "pause"}, False),
        (0, {"action": "loop", "off": True}, False),
        (0, {"action": "resume"}, False),
    ],
    delays=[5],
)
def test_nothing_is_early_and_positions_are_continuous(
    times: list[int], moves: Any, delays: list[int]
) -> None:
    """Within an epoch the playhead never goes back, nor faster than the speed says, but for steps and idle
    stretches; and no frame is ahead of it.
    """
    moves = [move for move in moves if move[1]["action"] not in ("step", "limits")]
    virtual = played(times, moves, delays, unacknowledged=10**9)
    last: tuple[float, dict[str, Any]] | None = None
    for ms, message in virtual.said:
        if message["type"] == "frame" and last is not None and last[1]["status"] not in ("live", "stopped"):
            assert Fraction(str(message["to"])) <= _reached(last, ms)
        if message["type"] != "state" or message["position"] is None:
            continue
        if last is not None and last[1]["epoch"] == message["epoch"] and last[1]["status"] != "live":
            assert message["position"] >= last[1]["position"]
            assert Fraction(str(message["position"])) <= _reached(last, ms)
        last = (ms, message)


def _reached(last: tuple[float, dict[str, Any]], ms: float) -> Fraction:
    """How far the playhead may have come since ``last``: while it stands, not at all, but that a read that
    took less than 200 ms is made up for.
    """
    at, state = last
    position, speed = Fraction(str(state["position"])), Fraction(str(state["speed"]))
    if state["status"] not in ("playing", "buffering"):
        return position
    return position + speed * (Fraction(round((ms - at) * MS), SECOND) + Fraction(1, 5)) + Fraction(2, SECOND)


STORED = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 12_000)), max_size=30)


@given(TIMES, STORED, DELAYS, st.sampled_from([None, "live"]))
def test_what_is_stored_meanwhile_is_shown_once(
    times: list[int], stored: list[tuple[int, int]], delays: list[int], live: str | None
) -> None:
    """Events are stored while a window is played, ahead of the playhead and behind it, and reads are slow:
    frames and revisions together have each event of the window once.
    """
    slow = itertools.cycle(delays)
    virtual = Virtual(recorded(times), delay=lambda read: next(slow) * MS)
    virtual.open(EVENTS).run(2_000)
    virtual.say("limits", records=1_000).run(2_000)
    virtual.say("play", start=2, speed=3, **({} if live else {"end": 10}))
    for i, (wait, ms) in enumerate(stored):
        virtual.run(wait)
        virtual.recording.add_event("ten", ms * MS, "k", {"n": 1_000 + i})
        if frames := virtual.of("frame"):
            virtual.say("ack", frame=frames[-1][1]["frame"])
    for _ in range(40):
        virtual.run(500)
        if frames := virtual.of("frame"):
            virtual.say("ack", frame=frames[-1][1]["frame"])
    shown = [
        record[2]["n"]
        for _, message in virtual.said
        if message["type"] in ("frame", "revision")
        for record in (message["channels"]["ev"] if message["type"] == "frame" else message)["records"]
    ]
    started = virtual.of("frame")[0][1]["from"] if virtual.of("frame") else 2
    every = [(ms, i) for i, ms in enumerate(times)] + [(ms, 1_000 + i) for i, (_, ms) in enumerate(stored)]
    last = 10_000 if live is None else 20_000
    assert sorted(shown) == sorted(n for ms, n in every if started * 1_000 <= ms <= last)


REVISED = st.lists(
    st.tuples(st.integers(0, 700), st.integers(0, 12_000), st.lists(st.integers(1, 3_000), max_size=3)),
    max_size=15,
)


@given(TIMES, REVISED, DELAYS)
@example(times=[], revised=[(0, 0, [])], delays=[0, 0, 0, 500])  # told before the snapshot that it corrects
def test_a_client_has_the_timeline_as_it_is(
    times: list[int], revised: list[tuple[int, int, list[int]]], delays: list[int]
) -> None:
    """Timelines are revised while they are played, behind the playhead and ahead of it: what a client makes
    of snapshot, changes and revisions is the timeline that is recorded in the end.
    """
    slow = itertools.cycle(delays)
    settings = Settings(unacknowledged=10**9)
    virtual = Virtual(recorded(times), delay=lambda read: next(slow) * MS, settings=settings)
    virtual.open(LEVELS).run(2_000)
    virtual.say("limits", records=1_000).run(2_000)
    virtual.say("play", start=2, end=10, speed=3)
    truth = {ms: float(ms) for ms in times}
    for number, (wait, start, steps) in enumerate(revised):
        virtual.run(wait)
        places = itertools.accumulate(steps, initial=start)
        new = dict.fromkeys(places, number * 100 + 0.5)
        truth = {ms: value for ms, value in truth.items() if ms < start} | new
        pieces = [Piece(ms * MS, value, 0) for ms, value in new.items()]
        virtual.recording.revise("m", "n", "k", start * MS, pieces, late=True)
    virtual.run(20_000)
    seen: dict[float, float] = {}
    at_start: float | None = None
    for _, message in virtual.said:
        if message["type"] == "snapshot":
            at_start = next((level["value"] for level in message["channels"]["m"]), None)
        elif message["type"] == "frame":
            seen |= {line[0]: line[3] for line in message["channels"]["m"]["changes"]}
        elif message["type"] == "revision":
            start_at = message["from"]
            seen = {t: value for t, value in seen.items() if t < start_at}
            for t, value, _slope in message["pieces"]:
                if t <= 2:
                    at_start = value
                else:
                    seen[t] = value
    assert virtual.of("state")[-1][1]["status"] == "ended"
    assert seen == {ms / 1_000: value for ms, value in truth.items() if 2_000 < ms <= 10_000}
    expected = [truth[ms] for ms in sorted(truth) if ms <= 2_000]
    assert not expected or at_start == expected[-1]


@given(TIMES, MOVES, DELAYS)
def test_after_anything_a_window_comes_to_its_end(times: list[int], moves: Any, delays: list[int]) -> None:
    """Whatever was said before, and however slow the store is: nothing leaves the player stuck."""
    virtual = played(times, moves, delays, unacknowledged=10**9)
    virtual.say("play", start=0, end=20, speed=100, id="last").run(30_000)
    last = [message for _, message in virtual.said if message.get("reply") == "last"]
    assert [message["type"] for message in last] == ["state"]
    assert virtual.of("state")[-1][1]["status"] == "ended"
