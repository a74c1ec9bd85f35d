"""Idle: crosses stretches in which nothing is due within the client's ``idle_limit``, and says so.

Positions stay those of the recording: between the two ends the clock runs at another rate.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from .reads import Answer, Neighbour, NeighbourRead
from .replies import Skip

if TYPE_CHECKING:
    from .playhead import Playhead


class Idle:
    """The idle stretch that ``head`` is in, if any."""

    def __init__(self, head: Playhead) -> None:
        self._head = head
        self.limit: int | None = None  # microseconds of the clock; None: stretches are played as they are
        self._since: tuple[int, int] = (0, 0)  # (position, instant) of the last item that came due
        self._crossing: int | None = None  # the position at which a crossing ends
        self._next: int | None = None  # where something is due next, if that was asked
        self._read: int | None = None

    def begin(self) -> None:
        """Something is due here and now, or playing begins: a stretch begins."""
        self.leave()
        self._since = (self._head.target(), self._head.now)

    def leave(self) -> None:
        """Go on at the speed that was asked for."""
        head = self._head
        head.outbox.cancel(self._read)
        self._read = self._next = None
        if self._crossing is not None:
            self._crossing = None
            head.clock.set_rate(head.now, head.rate)

    def arrive(self) -> None:
        """The end of a crossing, exactly at its instant, however late this is called."""
        head, clock = self._head, self._head.clock
        if self._crossing is None or not clock.runs or clock.shown(head.now) < self._crossing:
            return
        arrived = clock.when(self._crossing)
        clock.put(self._crossing)
        clock.rate = head.rate
        clock.run(arrived)
        self._crossing = None

    def look_ahead(self) -> None:
        """Begin to cross a stretch, as soon as it is known to be longer than the limit."""
        head = self._head
        if self.limit is None or self._crossing is not None or not head.clock.runs or head.due.count:
            return
        position, (since, instant) = head.target(), self._since
        longest = since + self.limit * head.rate
        if head.bound <= longest:
            return
        due = self._due()
        if due is None or due <= longest or due <= position:
            return
        left = max(self.limit - (head.now - instant), 1_000_000 // head.frames_per_second)
        head.clock.set_rate(head.now, Fraction(due - position, left))
        self._crossing = due
        word = head.wording.time
        head.outbox.say(Skip(epoch=head.epoch, from_=word(position), to=word(due)))

    def times(self) -> list[int]:
        """When a crossing ends."""
        return [] if self._crossing is None else [self._head.clock.when(self._crossing)]

    def _due(self) -> int | None:
        """Where something is due next, or the bound; None while that is not known."""
        head, ahead = self._head, self._head.ahead
        if ahead.next_due is not None:
            return ahead.next_due
        if ahead.loaded >= head.bound:
            return head.bound
        if self._next is None and self._read is None and head.channels:
            read = NeighbourRead(tuple(head.channels), head.view, ahead.loaded, purpose="idle")
            self._read = head.outbox.read(read, self._take)
        return None if self._next is None else min(self._next, head.bound)

    def _take(self, answer: Answer) -> None:
        self._read = None
        if isinstance(answer, Neighbour):  # without one the stretch is played as it is
            self._next = self._head.bound if answer.due is None else answer.due
