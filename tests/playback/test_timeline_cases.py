"""Cases of the protocol about timelines: levels, late events, what was known then, live, what is not kept."""

from __future__ import annotations

from typing import Any

from timeline_workers.playback.items import Missing
from timeline_workers.playback.memory_recording import MemoryRecording

from .computed import CIRR as WORKED_EXAMPLE, SEEK, SESSION, Computed, node, session
from .virtual import MS, SECOND, Virtual, records, short, ten

CIRR = {"channel": "cirr", "metric": "cirr", "nodes": "all", "keys": ["s1"]}
EVENTS = {"channel": "ev", "events": "ten"}


def changes(virtual: Virtual, channel: str = "cirr") -> list[tuple[float, list[Any]]]:
    """Each change that was sent, without its channel, and when."""
    return [
        (ms, line)
        for ms, frame in virtual.of("frame")
        if channel in frame["channels"]
        for line in records(frame, channel)
    ]


def test_d15_the_worked_example() -> None:
    recording, cirr = session()
    virtual = Virtual(recording).open(CIRR)
    assert len(virtual.said[-1][1]["channels"][0]["nodes"]) == 11
    virtual.take()
    virtual.say("play", start=12, end=20, speed=1).run(10_000)
    [_, (ms, snapshot), *_] = virtual.said
    assert (ms, snapshot["type"], snapshot["at"], snapshot["epoch"]) == (0, "snapshot", 12, 1)
    levels = {level["node"]: level for level in snapshot["channels"]["cirr"]}
    assert len(levels) == 11
    duration = node(cirr, "duration_where")
    whole = {"node": duration, "key": "s1", "value": 2, "since": 10, "until": 14, "slope": 1, "final": False}
    assert levels[duration] == whole
    within, both = node(cirr, "has_existed_within"), next(name for name in cirr.nodes if name == "9-and")
    found = {(ms, *line) for ms, line in changes(virtual)}
    assert {one for one in found if one[2] in (within, both, duration)} == {
        (2_000, 14, within, "s1", True, None),
        (2_000, 14, both, "s1", False, None),
        (2_000, 14, duration, "s1", 4, 0),
        (7_000, 19, within, "s1", False, None),
        (7_000, 19, both, "s1", True, None),
        (7_000, 19, duration, "s1", 4, 1),
    }
    assert {ms for ms, _ in virtual.of("frame")} == {2_000, 7_000}
    assert short(virtual.said)[-1] == (8_000, "state ended")
    [(_, last)] = virtual.say("at", at=20, id=5).of("snapshot")[1:]
    assert (last["reply"], {one["node"]: one["value"] for one in last["channels"]["cirr"]}[duration]) == (
        5,
        5,
    )


def test_d16_the_live_edge_and_time_shift() -> None:
    virtual = Virtual(ten()).open(EVENTS)
    virtual.take()
    virtual.say("play", start=8).run(1_310)
    assert short(virtual.take()) == [
        (0, "state playing"),
        (0, "frame 08"),
        (1_000, "frame 09"),
        (1_000, "state live"),
    ]
    virtual.recording.add_event("ten", 12 * SECOND, "k", {"n": 12})
    virtual.run(200)
    [(ms, frame)] = virtual.take()
    assert (records(frame)[0][2], frame["to"]) == ({"n": 12}, 12)
    assert ms - 1_310 <= 200
    virtual.say("pause").run(1_000)
    for i in (13, 14, 15):
        virtual.recording.add_event("ten", i * SECOND, "k", {"n": i})
    virtual.run(5_000)
    assert short(virtual.take()) == [(1_510, "state paused")]
    virtual.say("resume").run(10_000)
    assert short(virtual.take()) == [
        (7_510, "state playing"),
        (8_510, "frame 13"),
        (9_510, "frame 14"),
        (10_510, "frame 15"),
        (10_510, "state live"),
    ]


def test_only_seek_live_jumps_to_the_edge() -> None:
    virtual = Virtual(ten()).open(EVENTS).say("play", start=1, end=3)
    virtual.run(100).take()
    virtual.say("seek", to="live").run(500)
    assert short(virtual.said) == [
        (100, "state jump playing"),
        (100, "frame 09"),
        (100, "state live"),
    ]
    virtual.say("seek", to=7).run(100)
    assert virtual.said[-2][1]["status"] == "playing"


def late_session() -> tuple[MemoryRecording, Computed]:
    """The worked example whose seek at 13 comes late, at 60 s of the store's clock; its own is not there."""
    recording = MemoryRecording()
    cirr = Computed(recording, "cirr", WORKED_EXAMPLE, "pe")
    for event in SESSION:
        if event is not SEEK:
            recording.now = event["t"] * SECOND  # type: ignore[operator]
            cirr.tell(event)
    return recording, cirr


LATE = {"s": "s1", "t": 13, "userAction": "seek"}


def test_d17_a_late_event_revises_what_is_on_screen() -> None:
    recording, cirr = late_session()
    recording.final["cirr"] = 12 * SECOND
    virtual = Virtual(recording).open(CIRR, {"channel": "ev", "events": "pe"})
    virtual.say("play", start=0, end=100, speed=100).run(400)
    virtual.say("pause")
    epoch = virtual.said[-1][1]["epoch"]
    assert virtual.said[-1][1]["position"] == 40
    assert [message["final"] for _, message in virtual.of("watermark")] == [12]
    virtual.take()
    cirr.tell(LATE)
    virtual.run(300)
    said = [message for _, message in virtual.take()]
    assert {message["type"] for message in said} == {"revision"}
    by_node = {message["node"]: message for message in said if message["channel"] == "cirr"}
    assert {cirr.nodes[name].split("(")[0] for name in by_node} == {
        "has_existed_within",
        "!has_existed_within",
        "duration_where",
    }
    assert len(by_node) == 5  # within, not, two times and, duration
    assert {message["from"] for message in said} == {13}
    assert {message["epoch"] for message in said} == {epoch}
    assert all(message["from"] >= 12 for message in said)  # what is final stays
    assert by_node[node(cirr, "has_existed_within")]["pieces"] == [[13, True, None], [18, False, None]]
    assert by_node[node(cirr, "duration_where")]["pieces"] == [[13, 3, 0], [18, 3, 1], [22, 7, 0]]
    [of_events] = [message for message in said if message["channel"] == "ev"]
    assert [record[0] for record in of_events["records"]] == [13]
    virtual.run(5_000)
    assert virtual.take() == []


def test_d17_what_is_not_shown_yet_is_no_revision() -> None:
    """A late event ahead of the playhead comes in its frame, once."""
    recording, cirr = late_session()
    virtual = Virtual(recording).open({"channel": "ev", "events": "pe"})
    virtual.say("play", start=10, end=20, speed=1).run(1_500)
    cirr.tell(LATE)
    virtual.run(10_000)
    assert virtual.of("revision") == []
    assert [[record[0] for record in records(frame)] for _, frame in virtual.of("frame")] == [[10], [13]]


def test_d18_as_known_then_and_as_it_became_known() -> None:
    recording, cirr = late_session()
    recording.now = 60 * SECOND
    cirr.tell(LATE)
    within = node(cirr, "has_existed_within")
    virtual = Virtual(recording, begins=70 * SECOND).open(CIRR, as_of=59)
    virtual.say("play", start=12, end=30, speed=10).run(3_000)
    assert [line for _, line in changes(virtual) if line[1] == within] == []
    virtual.take()
    virtual.say("close", channels=["cirr"]).open(CIRR, as_of=None)
    virtual.say("play", start=12, end=30, speed=10).run(3_000)
    assert [line[:2] for _, line in changes(virtual) if line[1] == within] == [[13, within], [18, within]]
    virtual.take()
    virtual.say("close", channels=["cirr"]).open(CIRR, axis="system")
    virtual.say("play", start=0, end=70, speed=10).run(10_000)
    kinds = [message["type"] for _, message in virtual.said if message["type"] in ("frame", "revision")]
    assert "frame" in kinds
    assert kinds == sorted(kinds)  # frames, then revisions
    revised = virtual.of("revision")
    assert {message["from"] for _, message in revised} == {13}
    assert {ms - virtual.of("opened")[-1][0] for ms, _ in revised} == {6_000}
    assert virtual.said[-1][1]["status"] == "ended"


def test_d19_a_typo_in_an_expression() -> None:
    virtual = Virtual(ten()).open(EVENTS)
    virtual.take()
    wrong = {"channel": "try", "expression": "has_existd(x == 1)", "like": "cirr", "keys": ["s1"]}
    virtual.open(wrong, id="w")
    [(_, error)] = virtual.take()
    assert (error["code"], error["reply"], error["span"]) == ("bad-expression", "w", [0, 10])
    assert "has_existed" in error["hint"]
    virtual.say("play", start=0, end=1).run(2_000)
    assert [what for _, what in short(virtual.said) if "frame" in what] == ["frame 00", "frame 01"]


def test_d20_what_is_not_kept_any_more() -> None:
    recording = ten()
    recording.kept = 4 * SECOND
    virtual = Virtual(recording).open(EVENTS)
    assert virtual.said[-1][1]["channels"][0]["complete_from"] == 4
    virtual.take()
    for request in (
        {"action": "play", "start": 1, "end": 9},
        {"action": "seek", "to": 1},
        {"action": "at", "at": 3.9},
    ):
        [(_, error)] = virtual.say(**request).take()
        assert error["code"] == "not-kept"
        assert "before 4 " in error["message"]
    virtual.say("play", start=4, end=5)
    assert short(virtual.take())[0] == (0, "state playing")


def test_d20_a_gap_inside_the_window_is_told() -> None:
    recording = ten()
    recording.gaps.append(Missing(0, 3 * SECOND, 5 * SECOND, "the store was down"))
    virtual = Virtual(recording).open(EVENTS)
    virtual.take()
    virtual.say("play", start=0, end=10).run(20_000)
    [(ms, gap)] = virtual.of("gap")
    assert (ms, gap) == (
        3_000,
        {"type": "gap", "channel": "ev", "from": 3, "to": 5, "why": "the store was down"},
    )
    virtual.take()
    virtual.say("play", start=4, end=6).run(20_000)
    assert [(ms, gap["from"]) for ms, gap in virtual.of("gap")] == [(20_000, 3)]


def test_d24_a_key_that_moves_changes_both_groups() -> None:
    recording = MemoryRecording()
    load = Computed(
        recording, "load", 'has_existed(r == "never") | aggregate(group_by(r), count)', "machines"
    )
    load.tell(
        {"s": "a", "t": 0, "r": "north"},
        {"s": "b", "t": 0, "r": "south"},
        {"s": "c", "t": 0, "r": "west"},
        {"s": "d", "t": 0, "r": "north"},
        {"s": "a", "t": 5, "r": "south"},
    )
    virtual = Virtual(recording).open({"channel": "load", "metric": "load", "groups": "all"})
    assert virtual.said[-1][1]["channels"][0]["kind"] == "aggregate"
    virtual.say("play", start=1, end=8).run(8_000)
    [(_, snapshot)] = virtual.of("snapshot")
    counted = {
        level["key"]: level["value"] for level in snapshot["channels"]["load"] if "count" in level["node"]
    }
    assert counted == {"north": 2, "south": 1, "west": 1}
    [(ms, frame)] = virtual.of("frame")
    assert ms == 4_000
    assert {(line[0], line[2], line[3]) for line in records(frame, "load") if "count" in line[1]} == {
        (5, "north", 1),
        (5, "south", 2),
    }


def test_idle_stretches_are_crossed_within_the_limit() -> None:
    """Events at 0, 1 and 100 s, a tail up to 200 s: with a limit of 2 s four seconds and one, and told."""
    recording = MemoryRecording()
    for t in (0, 1, 100):
        recording.add_event("ten", t * SECOND, "k", {"n": t})
    virtual = Virtual(recording).open(EVENTS).say("limits", idle_limit=2)
    virtual.take()
    virtual.say("play", start=0, end=200).run(10_000)
    assert short(virtual.said) == [
        (0, "state playing"),
        (0, "frame 00"),
        (1_000, "frame 01"),
        (1_000, "skip"),
        (3_000, "frame 100"),
        (3_000, "skip"),
        (5_000, "state ended"),
    ]
    assert [(skip["from"], skip["to"]) for _, skip in virtual.of("skip")] == [(1, 100), (100, 200)]
    assert [frame["to"] for _, frame in virtual.of("frame")] == [0, 1, 100]


def test_an_idle_tail_lasts_as_long_as_it_should() -> None:
    virtual = Virtual(ten()).open(EVENTS)
    virtual.take()
    virtual.say("play", start=9, end=600, speed=10).run(100_000)
    assert short(virtual.said) == [(0, "state playing"), (0, "frame 09"), (59_100, "state ended")]
    assert virtual.now == 100_000 * MS


def test_d20_a_channel_that_begins_later_has_a_gap() -> None:
    """One channel has the start and the other has not: it is played, and said, after the reply."""
    recording = ten()
    recording.add_event("other", 6 * SECOND, "k", {"n": 99})
    recording.kept_of["other"] = 4 * SECOND
    virtual = Virtual(recording).open(EVENTS, {"channel": "other", "events": "other"})
    virtual.take()
    virtual.say("play", start=1, end=3).run(5_000)
    assert short(virtual.said)[:3] == [(0, "state playing"), (0, "gap"), (0, "frame 01")]
    [(_, gap)] = virtual.of("gap")
    assert (gap["channel"], gap["from"], gap["to"]) == ("other", 1, 4)
