"""Plain messages, as tivo's pages say and understand them: a translation, and what the player makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from timeline_workers.playback.codes import DvrCode, RefusedRequest
from timeline_workers.playback.outbox import Output
from timeline_workers.playback.plain import Plain

from .virtual import Virtual, ten


class PlainVirtual(Virtual):
    """What a plain client is told, and when."""

    def __init__(self) -> None:
        self.plain = Plain("ten")
        self.told: list[tuple[float, Any]] = []
        super().__init__(ten())
        for request in self.plain.first():
            self.say(**request)

    def _take(self, output: Output) -> None:
        super()._take(output)
        for message in output.messages:
            self.told += [(self.ms, json.loads(text)) for text in self.plain.texts(message)]
            if (request := self.plain.acknowledgement(message)) is not None:
                self._take(self.player.request(self.now, request))

    def hear(self, said: dict[str, Any]) -> None:
        self._take(self.player.request(self.now, self.plain.request(said)))
        self.run(0)


def test_a_window_is_told_as_plain_events() -> None:
    virtual = PlainVirtual()
    window = {"start": "1970-01-01T00:00:08Z", "end": "1970-01-01T00:00:09.5Z"}
    virtual.hear({"command": "PLAY", **window, "speed": 1, "loop": "False", "other": 1})
    virtual.run(5_000)
    assert virtual.told == [
        (0, {"type": "PLAY", "text": "playing"}),
        (0, {"n": 8, "__event_date": "1970-01-01T00:00:08Z"}),
        (1_000, {"n": 9, "__event_date": "1970-01-01T00:00:09Z"}),
        (1_500, {"type": "END_NOLOOP", "text": "the window has ended"}),
    ]


def test_loops_and_stops_are_told_in_order() -> None:
    """The end of a loop comes before what follows it, and a stop says what was not sent."""
    virtual = PlainVirtual()
    virtual.hear({"action": "play", "start": 0, "end": 2, "speed": 10, "loop": True})
    virtual.run(250)
    virtual.hear({"action": "play", "start": 5, "end": 9})
    virtual.hear({"action": "stop"})
    virtual.run(10_000)
    kinds = [(ms, message.get("type", message.get("n"))) for ms, message in virtual.told]
    assert kinds == [
        (0, "PLAY"),
        (0, 0),
        (100, 1),
        (200, 2),
        (200, "END_LOOP"),
        (210, 0),
        (250, "EVENTS_CANCELED"),
        (250, "PLAY"),
        (250, 5),
        (250, "EVENTS_CANCELED"),
        (250, "STOP"),
    ]


def test_frames_are_acknowledged_for_the_client() -> None:
    virtual = PlainVirtual()
    virtual.hear({"action": "play", "start": 0, "end": 9, "loop": True, "speed": 10})
    virtual.run(10_000)
    assert virtual.player._head.frames > 32
    assert not virtual.player._head.blocked


def test_what_the_player_refuses_is_an_error() -> None:
    virtual = PlainVirtual()
    virtual.hear({"action": "play", "start": "yesterday"})
    [(_, error)] = virtual.told
    assert error["type"] == "ERROR"
    assert "yesterday" in error["text"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([], DvrCode.BAD_MESSAGE),
        ({}, DvrCode.UNKNOWN_ACTION),
        ({"action": "seek", "to": 3}, DvrCode.UNKNOWN_ACTION),
        ({"command": 7}, DvrCode.UNKNOWN_ACTION),
    ],
)
def test_other_actions_are_not_plain(said: Any, code: DvrCode) -> None:
    with pytest.raises(RefusedRequest) as caught:
        Plain("ten").request(said)
    assert caught.value.reason is code
