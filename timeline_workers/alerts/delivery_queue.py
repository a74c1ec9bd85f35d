"""``DeliveryQueue``: what a target of alerts has still to be sent, and when. Pure: nothing here has a clock.

Of each episode only the newest message waits: it says all there is to say, so that a target that was down for
long gets one message an episode. An episode that began and was taken back meanwhile is not sent at all. Of a
key one message is on its way at a time. A target that fails is left alone for longer and longer, and tried
with one message then; a message that cannot be sent within ``patience`` is given up, and so is one that the
target refuses for good.

Messages are sent at least once: after a restart what was on its way is sent again, under the same episode and
number. Where a newer message takes the place of one that was to wake somebody, it wakes somebody, if the
episode goes on: twice rather than never, as the first may have come. Instants and durations are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError

from .episodes import Message
from .sink_messages import SinkMessage

VERSION: Final = 1
SECOND: Final = 1_000_000
FIRST_PAUSE, LONGEST_PAUSE = 1 * SECOND, 600 * SECOND
DAY: Final = 86_400 * SECOND


class Waiting(msgspec.Struct):
    """A message, and since when it has been tried in vain; None: not yet."""

    told: SinkMessage
    tried_since: int | None = None

    @property
    def message(self) -> Message:
        """The message without its texts."""
        return self.told.message


class GivenUp(msgspec.Struct, frozen=True):
    """A message that was not sent, and why."""

    told: SinkMessage
    reason: str


class _Carried(msgspec.Struct):
    version: int
    waiting: list[Waiting]
    failures: int
    paused_until: int | None
    last_failure: str


class DeliveryQueue:
    """``patience``: for how long a message is tried; ``at_once``: how many are on their way together;
    ``most``: how many may wait; ``overflow`` gives up what is more.

    ``failures``: how often the target has failed since it last took a message; ``last_failure``: why, "" when
    it did not.
    """

    def __init__(self, patience: int = DAY, at_once: int = 8, most: int = 10_000) -> None:
        self.patience, self.at_once, self.most = patience, at_once, most
        self.failures = 0
        self.last_failure = ""
        self.paused_until: int | None = None
        self._waiting: dict[Key, dict[str, Waiting]] = {}
        self._idle: dict[Key, None] = {}  # keys with messages that wait, and none on its way; in their order
        self._sending: dict[Key, Waiting] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._sending)

    def put(self, messages: Iterable[SinkMessage]) -> None:
        """Have ``messages`` sent, in their order; muted ones are nobody's business."""
        for told in messages:
            if not told.message.muted:
                self._put(Waiting(told))

    def overflow(self) -> list[GivenUp]:
        """Give up what is over ``most``, first what waits for longest; what is on its way stays."""
        given_up: list[GivenUp] = []
        while len(self) > self.most and self._waiting:
            key, of_key = next(iter(self._waiting.items()))
            oldest = of_key.pop(next(iter(of_key)))
            self._tidy(key)
            given_up.append(GivenUp(oldest.told, f"{self.most} messages wait, and no more may"))
        return given_up

    def give_up_all(self, reason: str) -> list[GivenUp]:
        """Give up everything, what is on its way included."""
        given_up = [GivenUp(one.told, reason) for one in self.waiting()]
        self._waiting, self._idle, self._sending = {}, {}, {}
        return given_up

    def waiting(self) -> Iterator[Waiting]:
        """What is on its way, and what waits."""
        yield from self._sending.values()
        for some in self._waiting.values():
            yield from some.values()

    def take(self, now: int) -> SinkMessage | None:
        """The next message to send at ``now``; it is on its way until ``sent`` or ``failed`` says more. None:
        there is none."""
        if self.paused_until is not None and now < self.paused_until:
            return None
        if not self._idle or len(self._sending) >= (1 if self.failures else self.at_once):
            return None
        key = next(iter(self._idle))
        del self._idle[key]
        waiting = self._waiting[key]
        first = waiting.pop(next(iter(waiting)))
        first.tried_since = now if first.tried_since is None else first.tried_since
        if not waiting:
            del self._waiting[key]
        self._sending[key] = first
        return first.told

    @property
    def is_due(self) -> bool:
        """Whether ``take`` gives something whenever it is asked."""
        return bool(self._idle) and self.paused_until is None

    def next_attempt(self) -> int | None:
        """The instant before which ``take`` gives nothing although something waits; None: there is none."""
        return self.paused_until if self._idle else None

    def try_now(self) -> None:
        """Do not wait any longer."""
        self.paused_until = None

    def sent(self, told: SinkMessage) -> None:
        """The target has taken ``told``."""
        self._arrived(told)
        self._is_well()

    def failed(self, told: SinkMessage, now: int, why: str, retry_after: int | None = None) -> list[GivenUp]:
        """The target has not taken ``told``, and may do so later, not before ``retry_after`` from ``now``.
        What was on its way together fails once. Returns what is given up."""
        tried = self._arrived(told)
        if self.paused_until is None or self.paused_until <= now:
            self.failures += 1
            self.paused_until = now + min(FIRST_PAUSE << min(self.failures - 1, 20), LONGEST_PAUSE)
        self.last_failure = why
        self.paused_until = max(self.paused_until, now + (retry_after or 0))
        if tried.tried_since is not None and now - tried.tried_since >= self.patience:
            return [GivenUp(told, why)]
        self._put_back(tried)
        return []

    def refused(self, told: SinkMessage, why: str) -> list[GivenUp]:
        """The target will never take ``told``. Returns what is given up."""
        self._arrived(told)
        self._is_well()
        return [GivenUp(told, why)]

    def snapshot(self) -> bytes:
        """Everything that it must carry; ``restore`` reads it."""
        return msgspec.msgpack.encode(
            _Carried(VERSION, list(self.waiting()), self.failures, self.paused_until, self.last_failure)
        )

    def restore(self, data: bytes) -> None:
        """Go on from a ``snapshot``; what was on its way waits again. Raises StateError for other bytes."""
        try:
            carried = msgspec.msgpack.decode(data, type=_Carried)
        except msgspec.MsgspecError as error:
            raise StateError(f"{len(data)} bytes are no queue of a target: {error}") from error
        if carried.version != VERSION:
            raise StateError(
                f"a queue of a target has version {carried.version}, and {VERSION} is known here"
            )
        self.failures, self.last_failure = carried.failures, carried.last_failure
        self.paused_until = carried.paused_until
        for one in carried.waiting:
            self._put(one)

    def _is_well(self) -> None:
        self.failures, self.last_failure, self.paused_until = 0, "", None

    def _arrived(self, told: SinkMessage) -> Waiting:
        message = told.message
        waiting = self._sending.get(message.key)
        if waiting is None or waiting.told != told:
            raise ValueError(f"{message.episode}, number {message.seq}, is not on its way; take it first")
        del self._sending[message.key]
        if message.key in self._waiting:
            self._idle[message.key] = None
        return waiting

    def _put(self, new: Waiting) -> None:
        message = new.message
        waiting = self._waiting.setdefault(message.key, {})
        known = [self._sending.get(message.key), waiting.get(message.episode)]
        newest = max(
            (one.message.seq for one in known if one and one.message.episode == message.episode), default=0
        )
        if newest > message.seq:
            self._tidy(message.key)
            return  # one that was given up is sent once more, and there is news of it
        old = waiting.pop(message.episode, None)
        if old is not None:
            new = _instead(old, new)
        never_heard = new.message.new and new.tried_since is None
        if message.kind not in ("withdraw", "merged") or not never_heard:
            waiting[message.episode] = new
        self._tidy(message.key)

    def _put_back(self, tried: Waiting) -> None:
        key, episode = tried.message.key, tried.message.episode
        waiting = self._waiting.setdefault(key, {})
        newer = waiting.pop(episode, None)
        front = tried if newer is None else _instead(tried, newer)
        self._waiting[key] = {episode: front, **waiting}
        self._tidy(key)

    def _tidy(self, key: Key) -> None:
        if not self._waiting[key]:
            del self._waiting[key]
            self._idle.pop(key, None)
        elif key not in self._sending:
            self._idle[key] = None


def _instead(old: Waiting, new: Waiting) -> Waiting:
    """``new`` in the place of ``old``, which was not sent: whoever was to be woken is, if it goes on."""
    page = new.message.page or (old.message.page and new.message.is_firing)
    # What was tried may have come although nobody heard of it.
    message = msgspec.structs.replace(new.message, page=page, new=old.message.new)
    return Waiting(msgspec.structs.replace(new.told, message=message), old.tried_since)
