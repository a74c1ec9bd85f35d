"""Watch: looks at the store five times a second, for its live edge, its watermarks and late events.

What changed where the playhead has been is told as a revision, in the same epoch; what changed in what was
read ahead is read again. Nothing is watched while the player is stopped, or plays the past as it was known.
"""

from __future__ import annotations

from .items import OpenedChannel, Record
from .playhead import Playhead
from .reads import Answer, Look, LookAnswer, ReadFailed
from .replies import Watermark


class Watch:
    """What is known of the store beside what is played."""

    def __init__(self, head: Playhead) -> None:
        self._head = head
        self.start: int | None = None  # the least recorded instant
        self.now = 0  # the store's clock
        self._final: dict[str, int] = {}
        self._seq: int | None = None  # what was stored up to then is known here
        self._read: int | None = None
        self._next = 0
        self._epoch = 0

    def advance(self) -> None:
        """Look, when it is time."""
        head = self._head
        if self._epoch != head.epoch:  # an answer about where the playhead was is of no use
            head.outbox.cancel(self._read)
            self._read, self._epoch, self._seq = None, head.epoch, None
        since = self._since()
        if self._is_off() or since is None or self._read is not None or head.now < self._next:
            return
        if head.fetch.levels:
            return
        self._next = head.now + head.settings.look_every
        # Records up to here may be on screen by the time that the answer comes.
        upto = head.ahead.loaded + int(head.rate * head.settings.ahead_time)
        look = Look(tuple(head.channels), head.view, since, upto)
        self._read = head.outbox.read(look, self._take)

    def wake(self) -> int | None:
        """When to look again."""
        waits = self._is_off() or self._since() is None or self._read is not None or self._head.fetch.levels
        return None if waits or self._next <= self._head.now else self._next

    def _is_off(self) -> bool:
        head = self._head
        return head.mode == "stopped" or not head.epoch or not head.channels or head.view.as_of is not None

    def _since(self) -> int | None:
        return self._seq if self._seq is not None else self._head.ahead.first_seq

    def _take(self, answer: Answer) -> None:
        self._read = None
        head = self._head
        if isinstance(answer, ReadFailed):
            head.fetch.failed(answer)
            return
        assert isinstance(answer, LookAnswer)
        head.fetch.recovered()
        self.learn(answer)
        if head.fetch.levels:  # a snapshot that was read before this would undo it: look again after it
            return
        self._tell(answer)
        head.ahead.looked(answer.changed_from, answer.seq, reading=head.fetch.reading)
        self._seq = answer.seq

    def learn(self, answer: LookAnswer) -> None:
        """Take in how far the store is."""
        head = self._head
        self.start, self.now = answer.start, answer.now
        if answer.live is not None:
            head.edge = answer.live if head.edge is None else max(head.edge, answer.live)
        for name, kept in answer.complete_from.items():
            if (one := head.channels.get(name)) is not None and one.complete_from != kept:
                head.channels[name] = OpenedChannel(one.channel, one.kind, one.nodes, one.keys, kept)
        for name, final in answer.final.items():
            if name in head.channels and final > self._final.get(name, final - 1):
                self._final[name] = final
                head.outbox.say(Watermark(channel=name, final=head.wording.time(final)))

    def forget(self, channel: str) -> None:
        """A channel was closed."""
        self._final.pop(channel, None)

    def _tell(self, answer: LookAnswer) -> None:
        head, ahead = self._head, self._head.ahead
        known = ahead.first_seq if ahead.first_seq is not None else answer.seq
        for channel, revision in answer.revisions:
            if channel in head.channels and revision.start <= ahead.shown and revision.seq > known:
                head.outbox.say(head.wording.revision(head.epoch, channel, revision, ahead.shown))
        late: dict[str, list[Record]] = {}
        for channel, record in answer.late:
            on_screen = ahead.start <= record.due <= ahead.shown
            if channel in head.channels and on_screen and not ahead.was_read(record.due, record.seq):
                late.setdefault(channel, []).append(record)
        for channel, records in late.items():
            head.outbox.say(head.wording.late(head.epoch, channel, records))
