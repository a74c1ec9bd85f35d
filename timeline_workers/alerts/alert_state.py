"""``AlertState``: what a rule has told of the keys of one partition, and what is to be told next.

It hears revisions as an output does (``runtime.subscriber``), and instants: the *as-of instant*, up to which
the truth counts, never goes back. After each ``step`` what was told is what is true at that instant, of every
key. Nothing here looks at a clock, so that the same steps tell the same.

Instants and durations are microseconds. What a watermark has passed is forgotten, so that what is held grows
with what may still change.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import msgspec

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError
from timeline_workers.wire.news import News

from .episodes import Episode, KeyEpisodes, Message
from .telling import Telling
from .true_spans import OPEN, Span, TrueSpans, spans_by_key

VERSION = 1


class _Key:
    """``due``: the next change, under which it stands among those that are due."""

    __slots__ = ("due", "episodes", "spans")

    def __init__(self, episodes: KeyEpisodes, spans: TrueSpans) -> None:
        self.episodes, self.spans = episodes, spans
        self.due: int | None = None


class _Carried(msgspec.Struct):
    version: int
    rule: str
    watermark: int | None
    as_of: int | None
    over_before: int | None
    keys: list[tuple[Key, list[Span], list[Episode]]]


class AlertState:
    """``telling``: the rule, as far as it says what is told when. ``over_before``: episodes that had ended by
    then are not told, None: all are; so a rule that is new does not tell the past.
    """

    def __init__(self, telling: Telling, over_before: int | None = None) -> None:
        self.telling = telling
        self.over_before = over_before
        self.watermark: int | None = None
        self.as_of: int | None = None
        self._keys: dict[Key, _Key] = {}
        self._due: list[tuple[int, int, Key]] = []  # the next change of each key, and perhaps earlier ones
        self._pushed = 0
        self._waiting: dict[Key, None] = {}  # keys with news of which nothing was told

    def __len__(self) -> int:
        return len(self._keys)

    def hear(self, news: Iterable[News]) -> None:
        """Take what is new, in order, and tell nothing of it before the next ``step``."""
        for one in news:
            for key, since, spans in zip(one.keys, one.froms.tolist(), spans_by_key(one.suffix), strict=True):
                self._held(key).spans.revise(since, spans)
                self._waiting[key] = None
            if one.watermark is not None:
                self.watermark = max(one.watermark, self.watermark or one.watermark)

    def step(self, news: Iterable[News] = (), clock: int | None = None) -> list[Message]:
        """Take what is new, in order, and return what is to be told of it, in order of each key.

        ``clock``: how late it is, and no later than the instant up to which the source is known to have been
        read; only a rule with ``as_of: clock`` asks for it.
        """
        self.hear(news)
        touched = self._waiting
        before, self.as_of = self.as_of, self._look(clock)
        if self.as_of is None:
            return []
        self._waiting = {}
        told_to = self.as_of if before is None else before
        while self._due and self._due[0][0] <= self.as_of:
            at, _, key = heapq.heappop(self._due)
            if self._is_due(key, at):
                touched[key] = None
        if before is not None and self.telling.unmuted_between(before, self.as_of):
            touched.update(dict.fromkeys(k for k, held in self._keys.items() if held.episodes.unheard))
        messages: list[Message] = []
        for key in touched:
            held = self._keys.get(key)
            if held is not None:
                seen = held.spans.seen_at(self.as_of)
                messages += held.episodes.retell(seen, self.as_of, told_to, self.over_before)
                self._expect(key, held)
        return messages

    def next_change(self) -> int | None:
        """The earliest instant later than the as-of one at which there is something to tell though nothing is
        heard; None: never. A timer for it needs to be set."""
        while self._due and not self._is_due(self._due[0][2], self._due[0][0]):
            heapq.heappop(self._due)
        ends = [] if self.as_of is None else self.telling.mutes_after(self.as_of)
        return min([*ends, *(at for at, _, _ in self._due[:1])], default=None)

    @property
    def waits_for_step(self) -> bool:
        """Whether something was heard of which nothing was told."""
        return bool(self._waiting)

    def compact(self) -> None:
        """Forget what can change no more; nothing while something was heard of which nothing was told."""
        if self.watermark is None or self.as_of is None or self._waiting:
            return
        before = min(self.watermark, self.as_of)
        for key, held in list(self._keys.items()):
            held.spans.forget(before)
            held.episodes.forget(before)
            if not held.spans.spans and not held.episodes.episodes:
                del self._keys[key]
        self._due = [entry for entry in self._due if entry[2] in self._keys]
        heapq.heapify(self._due)

    def firing(self) -> list[tuple[Key, Episode]]:
        """The episodes that are told and not forgotten, by key."""
        return [(key, one) for key, held in self._keys.items() for one in held.episodes.episodes if one.told]

    def count_firing(self) -> int:
        """How many episodes go on, as told."""
        return sum(one.end == OPEN for _, one in self.firing())

    def snapshot(self) -> bytes:
        """Everything that it must carry; ``restore`` reads it."""
        keys = [(key, held.spans.spans, held.episodes.episodes) for key, held in self._keys.items()]
        carried = _Carried(VERSION, self.telling.name, self.watermark, self.as_of, self.over_before, keys)
        return msgspec.msgpack.encode(carried)

    @staticmethod
    def restore(telling: Telling, data: bytes) -> AlertState:
        """Reverse ``snapshot``; the rule may be another than it was. Raises StateError for other bytes."""
        try:
            carried = msgspec.msgpack.decode(data, type=_Carried)
        except msgspec.MsgspecError as error:
            raise StateError(f"{len(data)} bytes are no state of an alert: {error}") from error
        if carried.version != VERSION:
            raise StateError(f"state of an alert has version {carried.version}, and {VERSION} is known here")
        made = AlertState(telling, carried.over_before)
        made.watermark, made.as_of = carried.watermark, carried.as_of
        for key, spans, episodes in carried.keys:
            held = made._held(key)
            held.spans.spans, held.episodes.episodes = spans, episodes
            made._expect(key, held)
        # Another rule may tell more of them, and of some nothing may have been told.
        made._waiting = dict.fromkeys(made._keys)
        return made

    def _look(self, clock: int | None) -> int | None:
        found = self.telling.as_of_instant(self.watermark, clock)
        return max((t for t in (found, self.as_of) if t is not None), default=None)

    def _held(self, key: Key) -> _Key:
        held = self._keys.get(key)
        if held is None:
            telling = self.telling
            episodes = KeyEpisodes(telling.name, key, telling.repeat, lambda t: telling.is_muted(key, t))
            held = self._keys[key] = _Key(episodes, TrueSpans())
        return held

    def _is_due(self, key: Key, at: int) -> bool:
        held = self._keys.get(key)
        return held is not None and held.due == at

    def _expect(self, key: Key, held: _Key) -> None:
        found = None if self.as_of is None else held.spans.next_change(self.as_of)
        known, held.due = held.due, found
        if found is not None and found != known:
            self._pushed += 1
            heapq.heappush(self._due, (found, self._pushed, key))
