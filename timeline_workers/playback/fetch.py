"""Fetch: the playhead's own reads, of levels where an epoch begins and of windows ahead of the position.

At most one of each is under way. A window is read when less than half of the time, or of the items, that are
to be held ahead is there, and whole instants only. A read that fails is told once and done again in a moment.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .reads import Answer, ReadFailed, SnapshotAnswer, SnapshotRead, Window, WindowRead
from .replies import Failed
from .requests import KEYS_OF_SNAPSHOT

if TYPE_CHECKING:
    from .playhead import Playhead


class Fetch:
    """The reads of ``head``. ``retry``: the last one failed, and this is when to read again."""

    def __init__(self, head: Playhead) -> None:
        self._head = head
        self.levels: tuple[str, ...] = ()  # channels whose snapshot is still to be sent
        self.retry: int | None = None
        self._levels_read: int | None = None
        self._window_read: int | None = None

    @property
    def reading(self) -> bool:
        """Whether a window is being read."""
        return self._window_read is not None

    @property
    def reach(self) -> int:
        """How far ahead of the position to read."""
        head = self._head
        return max(math.ceil(head.rate * head.settings.ahead_time), 2)

    def want(self, levels: tuple[str, ...]) -> None:
        """A snapshot of these channels is to be sent before anything else."""
        self.levels = levels

    def cancel(self) -> None:
        """Drop what is being read."""
        self._head.outbox.cancel(self._window_read)
        self._head.outbox.cancel(self._levels_read)
        self._window_read = self._levels_read = None

    def remove(self, channel: str) -> None:
        """A channel was closed."""
        if channel in self.levels:
            self._head.outbox.cancel(self._levels_read)
            self._levels_read = None
            self.levels = tuple(name for name in self.levels if name != channel)

    def advance(self) -> None:
        """Ask for what is needed by now."""
        if self.retry is not None and self._head.now < self.retry:
            return
        if self.levels and self._levels_read is None:
            self._ask_for_levels()
        if self._head.mode != "ended" and not self.reading:
            self._ask_for_window()

    def _ask_for_levels(self) -> None:
        head, at = self._head, self._head.standing
        read = SnapshotRead(self.levels, head.view, at, KEYS_OF_SNAPSHOT)
        self._levels_read = head.outbox.read(read, lambda answer: self._take_levels(at, answer))

    def _ask_for_window(self) -> None:
        head, ahead, bound, reach = self._head, self._head.ahead, self._head.bound, self.reach
        if not head.channels:
            ahead.loaded = max(ahead.loaded, bound)
        position, room = head.target(), head.settings.ahead_items - len(ahead.items)
        enough = ahead.loaded >= position + reach // 2 or 2 * room < head.settings.ahead_items
        if ahead.loaded >= bound or enough:
            return
        to = min(bound, max(position + reach, ahead.loaded + 1))
        read = WindowRead(tuple(head.channels), head.view, ahead.loaded, ahead.levels_after, to, room)
        self._window_read = head.outbox.read(read, lambda answer: self._take_window(read.after, answer))

    def _take_window(self, after: int, answer: Answer) -> None:
        self._window_read = None
        if isinstance(answer, ReadFailed):
            self.failed(answer)
            return
        assert isinstance(answer, Window)
        self.recovered()
        self._head.ahead.take_in(answer, after)

    def _take_levels(self, at: int, answer: Answer) -> None:
        self._levels_read = None
        if isinstance(answer, ReadFailed):
            self.failed(answer)
            return
        assert isinstance(answer, SnapshotAnswer)
        self.recovered()
        head = self._head
        head.ahead.note_seq(answer.seq)
        self.levels = ()
        head.outbox.say(head.wording.snapshot(head.epoch, at, answer.channels))

    def failed(self, failure: ReadFailed) -> None:
        """A read of the player's own came to nothing: say so once, and try again in a moment."""
        if self.retry is None:
            self._head.outbox.say(
                Failed(code=failure.reason, message=failure.message, field=failure.field, hint=failure.hint)
            )
        self.retry = self._head.now + self._head.settings.retry

    def recovered(self) -> None:
        """A read came to something."""
        self.retry = None
