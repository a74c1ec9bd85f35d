"""The rules of the protocol, one by one; those that the cases show already are not repeated."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from timeline_workers.playback.codes import CloseCode
from timeline_workers.playback.items import NodeOfChannel, Piece
from timeline_workers.playback.memory_recording import MemoryRecording
from timeline_workers.playback.playhead import Settings
from timeline_workers.playback.reads import OpenRead, SnapshotRead, WindowRead

from .computed import session
from .virtual import MS, SECOND, Virtual, records, short, ten

EVENTS = {"channel": "ev", "events": "ten"}
CIRR = {"channel": "cirr", "metric": "cirr", "nodes": "all", "keys": ["s1"]}


def test_rule_1_replies_keep_the_order_of_requests() -> None:
    """Requests that come while an earlier one waits for the store are answered after it."""
    recording, _ = session()
    virtual = Virtual(recording, delay=lambda read: 900 * MS if isinstance(read, SnapshotRead) else 0)
    virtual.run(0).open(CIRR, id="open").say("play", start=0, end=40, id="play")
    virtual.say("at", at=12, id="at").say("pause", id="pause").text('{"action": "go", "id": "go"}')
    virtual.say("seek", to=99, id="seek").say("ack", frame=7, id="ack").say("speed", speed=0, id="speed")
    virtual.run(10_000)
    replies = [message["reply"] for _, message in virtual.said if "reply" in message]
    assert replies == ["open", "play", "at", "pause", "go", "seek", "ack", "speed"]


def test_rule_1_acknowledgements_have_replies_on_request() -> None:
    virtual = Virtual(ten()).open(EVENTS).say("play", start=0, end=9)
    virtual.take()
    assert virtual.say("ack", frame=1).take() == []
    [(_, state)] = virtual.say("ack", frame=1, id=3).take()
    assert (state["type"], state["reply"]) == ("state", 3)


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "play", "start": 1, "end": 9},
        {"action": "seek", "to": 5},
        {"action": "loop", "from": 2, "to": 4},
        {"action": "step", "by": "event", "back": True},
        {"action": "open", "channels": [{"channel": "more", "events": "ten"}], "as_of": 50},
    ],
)
def test_rule_2_no_older_epoch_after_the_reply(request_: dict[str, Any]) -> None:
    """Whatever reads are under way for it: their answers come, and are dropped."""
    virtual = Virtual(ten(), delay=lambda read: 0 if isinstance(read, OpenRead) else 150 * MS).run(1_000)
    virtual.open(EVENTS).run(1_000)
    virtual.say("play", start=0, end=9, speed=5).run(460)
    virtual.take()
    virtual.text(json.dumps({**request_, "id": 1})).run(3_000)
    place = next(i for i, (_, message) in enumerate(virtual.said) if message.get("reply") == 1)
    after = [message["epoch"] for _, message in virtual.said[place:] if "epoch" in message]
    assert after
    assert min(after) == 2
    assert after == sorted(after)
    before = [message["epoch"] for _, message in virtual.said[:place] if "epoch" in message]
    assert set(before) <= {1}


def test_rule_3_order_is_time_then_channel_then_position() -> None:
    """Within the instants of a frame, and both ends of the window are played."""
    recording = MemoryRecording()
    for t, topic, n in [(5, "b", 1), (5, "a", 2), (0, "a", 3), (5, "a", 4), (10, "b", 5), (11, "b", 6)]:
        recording.add_event(topic, t * SECOND, "k", {"n": n})
    virtual = Virtual(recording)
    virtual.open({"channel": "first", "events": "b"}, {"channel": "second", "events": "a"})
    virtual.say("play", start=0, end=10, speed=10_000).run(20)
    lines = [
        (channel, line[2]["n"])
        for _, frame in virtual.of("frame")
        for channel in frame["channels"]
        for line in records(frame, channel)
    ]
    assert lines == [("second", 3), ("first", 1), ("first", 5), ("second", 2), ("second", 4)]


def test_rule_3_a_seek_while_paused_shows_the_instant() -> None:
    virtual = Virtual(ten()).open(EVENTS).say("play", start=0, end=9).say("pause")
    virtual.run(100).take()
    virtual.say("seek", to=4).run(1_000)
    assert short(virtual.said) == [(100, "state jump paused"), (100, "frame 04")]


def test_rule_4_a_loop_begins_with_its_snapshot() -> None:
    recording, cirr = session()
    result = list(cirr.nodes)[-1]
    virtual = Virtual(recording).open({"channel": "cirr", "metric": "cirr", "keys": ["s1"]})
    virtual.take()
    virtual.say("play", start=10, end=14, speed=4, loop=True).run(1_500)
    assert short(virtual.said) == [
        (0, "state playing"),
        (0, "snapshot"),
        (1_000, f"frame {result}"),
        (1_000, "loop 1"),
        (1_000, "state jump playing"),
        (1_000, "snapshot"),
    ]
    epochs = [message["epoch"] for _, message in virtual.said]
    assert epochs == [1, 1, 1, 2, 2, 2]


def test_rule_4_a_tiny_loop_does_not_spin() -> None:
    """At 10,000,000 × a second's loop would begin ten times a microsecond; it begins every 10 ms."""
    virtual = Virtual(ten()).open(EVENTS).say("limits", frames_per_second=100)
    virtual.take()
    virtual.say("play", start=0, end=1, speed=10_000_000, loop=True).run(100)
    assert 8 <= len(virtual.of("loop")) <= 11


def test_rule_4_loops_do_not_drift() -> None:
    """The thousandth iteration begins when it should, to the microsecond."""
    virtual = Virtual(ten(), settings=Settings(unacknowledged=10**9)).open(EVENTS)
    virtual.take()
    virtual.say("play", start=0, end=1, speed=7, loop=True).run(1_000 * 1_000 / 7 + 1)
    loops = virtual.of("loop")
    assert loops[-1][1]["iteration"] == 1_000
    assert abs(loops[-1][0] - 1_000 * 1_000 / 7) <= 1


def test_rule_5_the_last_changes_are_kept() -> None:
    recording = MemoryRecording()
    recording.add_metric("m", [NodeOfChannel("n", "n", "x", "numeric")])
    for key in range(3):
        pieces = [Piece(i * MS, i * 10 + key, 0) for i in range(100)]
        recording.revise("m", "n", key, 0, pieces)
    virtual = Virtual(recording).open({"channel": "m", "metric": "m"}).say("limits", records=10)
    virtual.say("play", start=0, end=0.099, speed=1_000).run(50)
    parts = [frame["channels"]["m"] for _, frame in virtual.of("frame")]
    assert sum(part["count"] for part in parts) == 297  # what holds at the start is in the snapshot
    assert all(part["count"] == len(part["changes"]) + part["skipped"] for part in parts)
    assert sum(part["skipped"] for part in parts) > 0
    last = {line[2]: line[3] for part in parts for line in part["changes"]}
    assert last == {0: 990, 1: 991, 2: 992}


def test_rule_6_the_clock_goes_on_while_blocked() -> None:
    virtual = Virtual(ten(), settings=Settings(unacknowledged=1)).open(EVENTS)
    virtual.say("play", start=0, end=9).run(4_500)
    assert virtual.say("limits").said[-1][1]["position"] == 4.5
    virtual.take()
    virtual.say("ack", frame=1)
    assert short(virtual.take()) == [(4_500, "frame 01 02 03 04")]


def test_rule_7_reads_are_of_limited_size() -> None:
    """At most 1,000 records, or what two seconds of playing need."""
    recording = MemoryRecording()
    for i in range(5_000):
        recording.add_event("ten", i * MS, "k", {"n": i})
    virtual = Virtual(recording, settings=Settings(unacknowledged=10**9)).open(EVENTS)
    virtual.say("play", start=0, end=4.999, speed=0.5)
    reads = [read for read in virtual.asked if isinstance(read, WindowRead)]
    assert [(read.after, read.to) for read in reads] == [(-1, SECOND)]
    virtual.run(10_000)
    assert all(read.limit <= 1_000 for read in virtual.asked if isinstance(read, WindowRead))
    assert virtual.said[-1][1]["status"] == "ended"


def test_rule_7_an_instant_is_read_whole() -> None:
    """2,000 records at one instant are one frame."""
    recording = MemoryRecording()
    for i in range(2_002):
        recording.add_event("ten", 0 if i == 0 else 2 * SECOND if i == 2_001 else SECOND, "k", {"n": i})
    virtual = Virtual(recording).open(EVENTS).say("play", start=0, end=3)
    virtual.run(5_000)
    assert [frame["channels"]["ev"]["count"] for _, frame in virtual.of("frame")] == [1, 2_000, 1]


def test_rule_8_a_year_in_three_seconds() -> None:
    year = 365 * 86_400
    virtual = Virtual(MemoryRecording()).open(EVENTS)
    virtual.take()
    virtual.say("play", start=0, end=year, speed=10_000_000).run(5_000)
    assert short(virtual.said) == [(0, "state playing"), (year / 10_000, "state ended")]


def test_rule_9_the_edge_may_be_the_watermark() -> None:
    recording = ten()
    recording.final["ten"] = 4 * SECOND
    virtual = Virtual(recording).open(EVENTS, edge="final")
    virtual.take()
    virtual.say("play", start=3).run(5_000)
    assert short(virtual.take()) == [
        (0, "state playing"),
        (0, "frame 03"),
        (1_000, "frame 04"),
        (1_000, "state live"),
    ]
    recording.final["ten"] = 6 * SECOND
    virtual.run(200)
    assert short(virtual.of("frame")) == [(5_200, "frame 05 06")] or virtual.of("frame")[0][0] <= 5_200


def test_rule_9_five_looks_a_second() -> None:
    virtual = Virtual(ten()).open(EVENTS).say("play", start=9).run(100)
    before = len(virtual.asked)
    virtual.run(2_000)
    assert 9 <= len(virtual.asked) - before <= 11


def test_rule_11_a_lost_socket_is_made_up_for() -> None:
    """A new socket with the channels and the position of the old one shows what that had still to show."""
    recording, whole = ten(), []
    virtual = Virtual(recording).open(EVENTS).say("play", start=0, end=9).run(4_300)
    whole += [what for _, what in short(virtual.of("frame"))]
    state = virtual.say("limits").said[-1][1]
    again = Virtual(recording).open(EVENTS).say("play", start=state["position"], end=state["end"])
    whole += [what for _, what in short(again.run(10_000).of("frame"))]
    assert whole == [f"frame {i:02}" for i in range(10)]


def test_rule_12_two_sockets_have_two_playheads() -> None:
    """And the channels of one share its own."""
    recording = ten()
    one, other = Virtual(recording).open(EVENTS), Virtual(recording).open(EVENTS)
    other.open({"channel": "again", "events": "ten"})
    one.say("play", start=0, end=9).run(500)
    other.say("play", start=5, end=9).run(500)
    assert [what for _, what in short(one.of("frame"))] == ["frame 00"]
    assert [what for _, what in short(other.of("frame"))] == ["frame 05 05"]


def test_rule_13_sixteen_channels_are_the_most() -> None:
    virtual = Virtual(ten())
    virtual.open(*({"channel": str(i), "events": "ten"} for i in range(15)))
    virtual.take()
    virtual.open({"channel": "15", "events": "ten"}, {"channel": "16", "events": "ten"})
    assert short(virtual.take()) == [(0, "error too-many")]
    virtual.open({"channel": "15", "events": "ten"})
    assert [message["type"] for _, message in virtual.take()] == ["opened"]


def test_rule_13_snapshots_have_the_busiest_keys() -> None:
    recording = MemoryRecording()
    recording.add_metric("m", [NodeOfChannel("n", "n", "x", "numeric")])
    for key in range(300):
        pieces = [Piece(i * MS, i, 0) for i in range(1 + (key % 3))]
        recording.revise("m", "n", key, 0, pieces)
    virtual = Virtual(recording).open({"channel": "m", "metric": "m"}).say("at", at=1)
    [(_, snapshot)] = virtual.of("snapshot")
    assert snapshot["counts"] == {"m": 300}
    shown = {level["key"] for level in snapshot["channels"]["m"]}
    assert len(shown) == 200
    assert {key for key in range(300) if key % 3 == 2} <= shown


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("play", CloseCode.NOT_JSON),
        ('{"action": "play"', CloseCode.NOT_JSON),
        (" " * 65_537, CloseCode.TOO_LONG),
        ('"' + "é" * 40_000 + '"', CloseCode.TOO_LONG),
    ],
)
def test_rule_13_what_is_no_message_closes_the_socket(text: str, code: CloseCode) -> None:
    virtual = Virtual(ten()).open(EVENTS).say("play", start=0, end=9)
    virtual.text(text).take()
    assert virtual.closed is code
    assert virtual.run(5_000).take() == []


def test_steps_go_by_changes_events_and_times() -> None:
    recording, cirr = session()
    virtual = Virtual(recording).open(CIRR, {"channel": "ev", "events": "playback-events"})
    virtual.say("play", start=0, end=60).run(100)
    positions = []
    for by, back, channel in [
        ("change", False, "cirr"),
        ("event", False, "ev"),
        ("8.5s", False, None),
        ("change", False, "cirr"),
        ("change", True, "cirr"),
        ("250ms", True, None),
        ("1h", False, None),
        ("event", False, "ev"),
    ]:
        named = {} if channel is None else {"channel": channel}
        virtual.say("step", by=by, back=back, id=len(positions), **named).run(50)
        [state] = [message for _, message in virtual.of("state") if message.get("reply") == len(positions)]
        assert state["status"] == "paused"
        positions.append(state["position"])
    assert positions == [1, 2, 10.5, 14, 10, 9.75, 60, 60]
    epochs = [message["epoch"] for _, message in virtual.of("state")]
    assert epochs == [1, 1, 1, 1, 1, 2, 3, 3, 3]  # only back is another epoch
    at = [message["position"] for _, message in virtual.of("state")]
    assert len(at) == len(epochs)
    assert cirr.name == "cirr"


def test_a_channel_opened_while_playing_joins_in() -> None:
    """It begins with its levels where the playhead is, without a new epoch."""
    recording, cirr = session()
    virtual = Virtual(recording).open({"channel": "ev", "events": "playback-events"})
    virtual.say("play", start=0, end=30, speed=1).run(11_500)
    virtual.take()
    virtual.open(CIRR).run(3_000)
    kinds = [(ms, message["type"]) for ms, message in virtual.said]
    assert kinds == [(11_500, "opened"), (11_500, "snapshot"), (14_000, "frame")]
    [(_, frame)] = virtual.of("frame")
    assert (frame["epoch"], set(frame["channels"])) == (1, {"ev", "cirr"})
    assert virtual.of("snapshot")[0][1]["at"] <= 11.5
    virtual.say("close", channels=["ev"]).run(60_000)
    assert all(set(frame["channels"]) == {"cirr"} for _, frame in virtual.of("frame")[1:])
    assert len(cirr.nodes) == 11


def test_a_loop_is_set_moved_and_left() -> None:
    virtual = Virtual(ten()).open(EVENTS)
    virtual.take()
    virtual.say("play", start=0, end=9, speed=10).run(250)
    virtual.say("loop", **{"from": 5, "to": 7}).run(350)
    virtual.say("loop", off=True).run(5_000)
    assert [(ms, what) for ms, what in short(virtual.said) if what[0] != "f"] == [
        (0, "state playing"),
        (250, "state jump playing"),
        (450, "loop 1"),
        (450, "state jump playing"),
        (600, "state playing"),
        (850, "state ended"),
    ]
    frames = [what for _, what in short(virtual.of("frame"))]
    assert frames == [f"frame {i:02}" for i in (0, 1, 2, 5, 6, 7, 5, 6, 7, 8, 9)]


def test_stop_counts_what_was_not_read_yet() -> None:
    """Far more is left than is read ahead, and all of it is counted."""
    recording = MemoryRecording()
    for i in range(10_000):
        recording.add_event("ten", i * MS, "k", {"n": i})
    virtual = Virtual(recording).open(EVENTS).say("play", start=0, end=100).run(1_234)
    sent = sum(frame["channels"]["ev"]["count"] for _, frame in virtual.of("frame"))
    virtual.take()
    virtual.say("stop", id=4)
    [(_, stopped)] = virtual.take()
    assert (stopped["reply"], stopped["undelivered"]) == (4, 10_000 - sent)
    assert virtual.run(10_000).take() == []


def test_positions_go_on_where_nothing_is_said() -> None:
    """``from`` of a frame is ``to`` of the one before."""
    virtual = Virtual(ten()).open(EVENTS).say("play", start=0.5, end=9, speed=3).run(5_000)
    frames = [frame for _, frame in virtual.of("frame")]
    assert frames[0]["from"] == 0.5
    assert all(one["to"] == other["from"] for one, other in itertools.pairwise(frames))


def test_rule_7_slow_levels_are_waited_for_too() -> None:
    """The window is there at once and its levels after half a second: it goes on when they are there."""
    recording, cirr = session()
    slow = iter([500 * MS])
    virtual = Virtual(recording, delay=lambda read: next(slow, 0) if isinstance(read, SnapshotRead) else 0)
    virtual.open({"channel": "cirr", "metric": "cirr", "keys": ["s1"]}).take()
    virtual.say("play", start=12, end=15).run(10_000)
    assert short(virtual.said) == [
        (0, "state playing"),
        (200, "state buffering"),
        (500, "snapshot"),
        (500, "state playing"),
        (2_500, f"frame {list(cirr.nodes)[-1]}"),
        (3_500, "state ended"),
    ]
