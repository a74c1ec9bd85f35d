"""Outbox: what the player wants done after a step: messages to send, reads to do, when to wake it.

It numbers reads and knows what to do with the answer of each, so that an answer that nobody waits for any
more is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .codes import CloseCode
from .reads import Answer, Read
from .replies import Message

Then = Callable[[Answer], None]


@dataclass(slots=True)
class Output:
    """What to do after a step, in this order.

    ``messages`` are sent; ``cancelled`` reads need not be answered any more; ``reads`` are to be done, at
    once and beside each other; ``wake``: the instant of the clock at which to call ``tick``, None: not before
    the next message or answer. ``close``: the socket is closed with it, and nothing more is to be done.
    """

    messages: list[Message] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    reads: list[tuple[int, Read]] = field(default_factory=list)
    wake: int | None = None
    close: CloseCode | None = None


class Outbox:
    """Collects the output of a step."""

    def __init__(self) -> None:
        self._output = Output()
        self._waiting: dict[int, Then] = {}
        self._numbers = 0

    def say(self, message: Message) -> None:
        """Send a message."""
        self._output.messages.append(message)

    def read(self, read: Read, then: Then) -> int:
        """Do a read, and call ``then`` with its answer; returns its number."""
        self._numbers += 1
        self._waiting[self._numbers] = then
        self._output.reads.append((self._numbers, read))
        return self._numbers

    def cancel(self, number: int | None) -> None:
        """Drop a read that is under way."""
        if number is not None and self._waiting.pop(number, None) is not None:
            self._output.cancelled.append(number)

    def answered(self, number: int, answer: Answer) -> None:
        """Hand an answer to who waits for it, if anybody still does."""
        if (then := self._waiting.pop(number, None)) is not None:
            then(answer)

    def close(self, code: CloseCode) -> None:
        """Close the socket, and drop all reads."""
        for number in list(self._waiting):
            self.cancel(number)
        self._output.close = code

    @property
    def closed(self) -> bool:
        """Whether this step closes the socket."""
        return self._output.close is not None

    def take(self, wake: int | None) -> Output:
        """The output of this step; the next begins empty.

        A read that was asked for and cancelled in the same step is in neither list.
        """
        output, self._output = self._output, Output()
        gone = set(output.cancelled) & {number for number, _ in output.reads}
        output.reads = [pair for pair in output.reads if pair[0] not in gone]
        output.cancelled = [number for number in output.cancelled if number not in gone]
        output.wake = wake
        return output
