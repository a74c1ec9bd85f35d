"""A player on a virtual clock: what is said to it, and what it sends, at which millisecond.

Reads are answered after a delay, with what the recording holds when they are asked. Every message is checked
against its model, as its JSON.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Coroutine
from typing import Any

from timeline_workers.playback.codes import CloseCode
from timeline_workers.playback.memory_recording import MemoryRecording
from timeline_workers.playback.outbox import Output
from timeline_workers.playback.player import Player
from timeline_workers.playback.playhead import Settings
from timeline_workers.playback.reads import Answer, Read
from timeline_workers.playback.recording import Reads

SECOND = 1_000_000
MS = 1_000


def at_once(thing: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        thing.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def ten() -> MemoryRecording:
    """Ten events at 0 to 9 s."""
    recording = MemoryRecording()
    for i in range(10):
        recording.add_event("ten", i * SECOND, "k", {"n": i})
    return recording


class Virtual:
    """A player over ``recording``; ``delay``: what a read takes, in microseconds."""

    def __init__(
        self,
        recording: MemoryRecording,
        *,
        settings: Settings | None = None,
        delay: Callable[[Read], int] = lambda read: 0,
        begins: int = 0,
        answer: Callable[[Read], Answer | None] = lambda read: None,
    ) -> None:
        self.recording, self.delay, self.answer = recording, delay, answer
        self.now = self.begins = begins
        self.player = Player(version="test", settings=settings)
        self.reads = Reads(recording)
        self.asked: list[Read] = []
        self.said: list[tuple[float, dict[str, Any]]] = []
        self.closed: CloseCode | None = None
        self._pending: list[tuple[int, int, Answer]] = []
        self._cancelled: set[int] = set()
        self._wake: int | None = None
        self._take(self.player.start(self.now))
        self.run(0)

    @property
    def ms(self) -> float:
        return (self.now - self.begins) / MS

    def _take(self, output: Output) -> None:
        for message in output.messages:
            text = message.to_json()
            type(message).model_validate_json(text)
            self.said.append((self.ms, json.loads(text)))
        self._cancelled |= set(output.cancelled)
        for number, read in output.reads:
            self.asked.append(read)
            answer = self.answer(read) or at_once(self.reads.do(read))
            heapq.heappush(self._pending, (self.now + self.delay(read), number, answer))
        self._wake = output.wake
        if output.close is not None:
            self.closed = output.close

    def run(self, ms: float) -> Virtual:
        """Let the clock run for ``ms``, ends included; the recording's clock runs with it."""
        end = self.now + round(ms * MS)
        for _ in range(2_000_000):
            times = [self._pending[0][0]] if self._pending else []
            times += [self._wake] if self._wake is not None else []
            if self.closed is not None or not times or min(times) > end:
                self.now = end
                return self
            self.now = max(self.now, min(times))
            self.recording.now = max(self.recording.now, self.now)
            if self._pending and self._pending[0][0] <= self.now:
                _, number, answer = heapq.heappop(self._pending)
                if number not in self._cancelled:
                    self._take(self.player.answered(self.now, number, answer))
            else:
                self._take(self.player.tick(self.now))
        raise AssertionError("the player is woken without end")

    def until(self, ms: float) -> Virtual:
        """Let the clock run up to ``ms``."""
        return self.run(ms - self.ms)

    def say(self, action: str, **fields: Any) -> Virtual:
        """Say a request; what is due at this instant and before is done, too."""
        return self.text(json.dumps({"action": action, **fields}))

    def text(self, text: str) -> Virtual:
        self._take(self.player.receive(self.now, text))
        return self.run(0)

    def open(self, *channels: dict[str, Any], **fields: Any) -> Virtual:
        return self.say("open", channels=list(channels), **fields)

    def of(self, *types: str) -> list[tuple[float, dict[str, Any]]]:
        """What was sent of some types."""
        return [(ms, message) for ms, message in self.said if message["type"] in types]

    def take(self) -> list[tuple[float, dict[str, Any]]]:
        """What was sent since the last time."""
        said, self.said = self.said, []
        return said


def records(message: dict[str, Any], channel: str = "ev") -> list[Any]:
    """The records of a frame, or its changes."""
    part = message["channels"][channel]
    return part["records"] if "records" in part else part["changes"]


def short(said: list[tuple[float, dict[str, Any]]]) -> list[tuple[float, str]]:
    """What was sent, as the cases write it: ``frame 00 01``, ``state playing``, ``error bad-time``."""
    return [(ms, _short(message)) for ms, message in said]


def _short(message: dict[str, Any]) -> str:
    kind = message["type"]
    if kind == "frame":
        lines = [line for name in message["channels"] for line in records(message, name)]
        found = [f"{line[2]['n']:02}" if isinstance(line[2], dict) else line[1] for line in lines]
        return " ".join(["frame", *found])
    if kind == "state":
        return "state " + ("jump " if message["jump"] else "") + message["status"]
    if kind == "stopped":
        return f"stopped {message['undelivered']}"
    if kind == "loop":
        return f"loop {message['iteration']}"
    if kind == "error":
        return f"error {message['code']}"
    return str(kind)
