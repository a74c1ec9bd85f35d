"""The cases of the protocol on the virtual clock: what is said and when, and all that is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from timeline_workers.playback.memory_recording import MemoryRecording

from .virtual import Virtual, short, ten

EVENTS = {"channel": "ev", "events": "ten"}


def frames(first: float, every: float, *numbers: int) -> list[tuple[float, str]]:
    """A frame of one event each, from ``first`` on."""
    return [(first + i * every, f"frame {number:02}") for i, number in enumerate(numbers)]


def empty() -> MemoryRecording:
    return MemoryRecording()


TEN_AT_20 = {"action": "play", "start": 0, "end": 10, "speed": 20}
JUMP = "state jump playing"

# id, recording, what is said at which ms, how long to run, all that is sent
CASES: list[Any] = [
    pytest.param(
        ten,
        [(0, TEN_AT_20)],
        2_000,
        [(0, "state playing"), *frames(0, 50, *range(10)), (500, "state ended")],
        id="D1",
    ),
    pytest.param(
        ten,
        [(0, {"action": "play", "start": 2, "end": 4})],
        5_000,
        [(0, "state playing"), *frames(0, 1_000, 2, 3, 4), (2_000, "state ended")],
        id="D2",
    ),
    pytest.param(
        ten,
        [(0, {**TEN_AT_20, "loop": True})],
        560,
        [
            (0, "state playing"),
            *frames(0, 50, *range(10)),
            (500, "loop 1"),
            (500, JUMP),
            *frames(500, 50, 0, 1),
        ],
        id="D3",
    ),
    pytest.param(
        ten,
        [(0, TEN_AT_20), (120, {"command": "PLAY", "start": 5, "end": 6, "speed": 1})],
        3_000,
        [
            (0, "state playing"),
            *frames(0, 50, 0, 1, 2),
            (120, "stopped 7"),
            (120, JUMP),
            (120, "frame 05"),
            (1_120, "frame 06"),
            (1_120, "state ended"),
        ],
        id="D4",
    ),
    pytest.param(
        ten,
        [(0, TEN_AT_20), (225, {"action": "stop"})],
        5_000,
        [(0, "state playing"), *frames(0, 50, 0, 1, 2, 3, 4), (225, "stopped 5")],
        id="D5",
    ),
    pytest.param(
        ten,
        [
            (
                0,
                {
                    "action": "play",
                    "start": "1970-01-01T00:00:00Z",
                    "end": "1970-01-01T00:00:10Z",
                    "speed": 20,
                    "loop": "False",
                },
            ),
            (1_000, {"action": "play", "start": 0, "end": 10, "loop": "0"}),
        ],
        3_000,
        [
            (0, "state playing"),
            *frames(0, 50, *range(10)),
            (500, "state ended"),
            (1_000, "error bad-flag"),
        ],
        id="D6",
    ),
    pytest.param(
        ten,
        [
            (0, {"action": "play", "start": 0, "end": 10, "speed": 1}),
            (2_500, {"action": "speed", "speed": 10}),
        ],
        2_760,
        [
            (0, "state playing"),
            *frames(0, 1_000, 0, 1, 2),
            (2_500, "state playing"),
            *frames(2_550, 100, 3, 4, 5),
        ],
        id="D8",
    ),
    pytest.param(empty, [(0, TEN_AT_20)], 5_000, [(0, "state playing"), (500, "state ended")], id="D9"),
    pytest.param(
        ten,
        [
            (0, {"action": "play", "start": 0, "end": 9}),
            (1_500, {"action": "pause"}),
            (60_000, {"action": "resume"}),
            (60_600, {"action": "seek", "to": 8}),
            (63_000, {"action": "seek", "to": 99}),
        ],
        70_000,
        [
            (0, "state playing"),
            *frames(0, 1_000, 0, 1),
            (1_500, "state paused"),
            (60_000, "state playing"),
            (60_500, "frame 02"),
            (60_600, JUMP),
            (60_600, "frame 08"),
            (61_600, "frame 09"),
            (61_600, "state ended"),
            (63_000, "state jump paused"),
            (63_000, "frame 09"),
        ],
        id="D10",
    ),
]


@pytest.mark.parametrize("begins", [0, 987_654_321])
@pytest.mark.parametrize(("recording", "said", "until", "expected"), CASES)
def test_case(recording: Any, said: Any, until: float, expected: Any, begins: int) -> None:
    """All that is sent after the channel was opened, whatever the clock says at first."""
    virtual = Virtual(recording(), begins=begins).open(EVENTS)
    virtual.take()
    for ms, request in said:
        virtual.until(ms)
        virtual.text(json.dumps(request))
    virtual.until(until)
    assert short(virtual.said) == expected


def test_d8_the_reply_has_the_position() -> None:
    virtual = Virtual(ten()).open(EVENTS).say("play", start=0, end=10, speed=1)
    virtual.until(2_500).take()
    [(_, state)] = virtual.say("speed", speed=10).take()
    assert (state["position"], state["speed"], state["epoch"]) == (2.5, 10, 1)


WRONG = [
    ('{"action": "rewind"}', "unknown-action"),
    ("{}", "bad-message"),
    ("[]", "bad-message"),
    ("null", "bad-message"),
    ('{"action": "play", "start": "x", "end": 10}', "bad-time"),
    ('{"action": "play", "start": 1e30, "end": 1e31}', "bad-time"),
    ('{"action": "play", "start": 5, "end": 4}', "bad-range"),
    ('{"action": "play", "start": 5, "end": 5, "loop": true}', "bad-range"),
    ('{"action": "play", "start": 5, "loop": true}', "bad-range"),
    ('{"action": "play", "start": 5, "end": 6, "speed": 0}', "bad-speed"),
    ('{"action": "play", "start": 5, "end": 6, "speed": NaN}', "bad-speed"),
    ('{"action": "play", "start": 5, "end": 6, "speed": true}', "bad-speed"),
    ('{"action": "play", "start": 5, "end": 6, "speed": 0.009}', "bad-speed"),
    ('{"action": "speed", "speed": 10000001}', "bad-speed"),
    ('{"action": "seek", "to": "yesterday"}', "bad-time"),
    ('{"action": "step", "by": "a bit"}', "bad-message"),
    ('{"action": "step", "by": "change", "channel": "none"}', "unknown-channel"),
    ('{"action": "close", "channels": ["ev", "none"]}', "unknown-channel"),
    ('{"action": "at", "at": 1, "channels": ["none"]}', "unknown-channel"),
    ('{"action": "open", "channels": [{"channel": "ev", "events": "ten"}]}', "bad-message"),
    ('{"action": "open", "channels": [{"channel": "m", "metric": "none"}]}', "unknown-metric"),
    ('{"action": "ack", "frame": 9}', "bad-ack"),
    ('{"action": "limits", "records": 0}', "bad-range"),
]


@pytest.mark.parametrize(("text", "code"), [*WRONG, ('{"action": "pause"}', "not-playing")])
def test_d7_an_error_changes_nothing_when_stopped(text: str, code: str) -> None:
    virtual = Virtual(ten()).open(EVENTS)
    [(_, before)] = virtual.say("limits").take()[2:]
    virtual.text(text).run(10_000)
    assert short(virtual.take()) == [(0, f"error {code}")]
    assert virtual.say("limits").take() == [(10_000, before)]
    assert virtual.closed is None


@pytest.mark.parametrize(("text", "code"), [*WRONG, ('{"action": "loop", "from": 3, "to": 3}', "bad-range")])
def test_d7_an_error_changes_nothing_while_playing(text: str, code: str) -> None:
    """Played with errors in it, a window shows what it shows without, at the same times."""
    virtual = Virtual(ten()).open(EVENTS)
    virtual.take()
    virtual.text(json.dumps(TEN_AT_20)).run(120).text(text).run(2_000)
    said = short(virtual.said)
    assert [line for line in said if line[1].startswith("error")] == [(120, f"error {code}")]
    said.remove((120, f"error {code}"))
    assert said == [(0, "state playing"), *frames(0, 50, *range(10)), (500, "state ended")]
