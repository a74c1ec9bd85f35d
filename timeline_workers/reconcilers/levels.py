"""``Levels``: what the timelines of a partition's keys are now, as their revisions have said so far.

*Now* is an instant that never goes back: of what is ``final`` the last one below the watermark, otherwise the
clock's. Instants are microseconds. What a watermark has passed is forgotten.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal as Choice, TypeAlias

import msgspec

from timeline_workers.algebra.nodes.group_names import group_of_key
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Flags, Tagged, Values
from timeline_workers.errors import StateError
from timeline_workers.wire.news import News

from .calls import State

VERSION: Final = 1
When: TypeAlias = Choice["provisional", "final"]
Piece: TypeAlias = tuple[int, Any]


class _Carried(msgspec.Struct):
    version: int
    watermark: int | None
    now: int | None
    stamp: int
    keys: list[tuple[Key, list[Piece]]]


class Levels:
    """``when``: whether what late events may still change counts. ``groups``: keys name groups of an
    aggregate. ``stamp``: of the last state that was given out."""

    def __init__(self, when: When, *, groups: bool = False) -> None:
        self.when, self.groups = when, groups
        self.watermark: int | None = None
        self.now: int | None = None
        self.stamp = 0
        self._pieces: dict[Key, list[Piece]] = {}
        self._due: list[tuple[int, int, Key]] = []
        self._pushed = 0
        self._unsaid: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._pieces)

    def hear(self, news: News) -> None:
        """Take what is new; ``step`` says what comes of it."""
        values, offsets = news.suffix.values, news.suffix.offsets.tolist()
        starts = news.suffix.starts.tolist()
        for row, (key, since) in enumerate(zip(news.keys, news.froms.tolist(), strict=True)):
            kept = [piece for piece in self._pieces.get(key, ()) if piece[0] < since]
            for place in range(offsets[row], offsets[row + 1]):
                kept.append((starts[place], _value(values, place)))
            self._pieces[key] = kept
            self._unsaid[key] = None
        if news.watermark is not None:
            self.watermark = max(news.watermark, self.watermark or news.watermark)

    def step(self, clock: int) -> Iterator[tuple[Key, State]]:
        """The states of the keys of which something is new, at the present instant."""
        final = None if self.watermark is None else self.watermark - 1
        found = clock if self.when == "provisional" else final
        self.now = max((t for t in (found, self.now) if t is not None), default=None)
        if self.now is None:
            return
        touched, self._unsaid = self._unsaid, {}
        while self._due and self._due[0][0] <= self.now:
            touched[heapq.heappop(self._due)[2]] = None
        for key in touched:
            pieces = self._pieces.get(key)
            if pieces is None:
                continue
            place = _covering(pieces, self.now)
            until = pieces[place + 1][0] if place + 1 < len(pieces) else None
            if until is not None:
                self._pushed += 1
                heapq.heappush(self._due, (until, self._pushed, key))
            since, value = pieces[place] if place >= 0 else (None, None)
            is_final = self.watermark is not None and self.now < self.watermark
            self.stamp += 1
            yield self._named(key), State(value, since, until, is_final, self.stamp)

    def next_time(self) -> int | None:
        """The instant of the clock at which there is something new though nothing is heard; None: never."""
        return self._due[0][0] if self._due and self.when == "provisional" else None

    def leave(self, keys: Iterable[Key]) -> list[Key]:
        """Forget keys; returns what they are named."""
        return [self._named(key) for key in keys if self._pieces.pop(key, None) is not None]

    def all_keys(self) -> list[Key]:
        """The names of all keys."""
        return [self._named(key) for key in self._pieces]

    def compact(self) -> None:
        """Forget what can change no more and lies in the past."""
        if self.watermark is None or self.now is None:
            return
        # A revision may take back what begins at the watermark; then what held before goes on.
        before = min(self.watermark, self.now) - 1
        for key, pieces in self._pieces.items():
            place = _covering(pieces, before)
            if place > 0:
                self._pieces[key] = pieces[place:]

    def snapshot(self) -> bytes:
        """Everything that it must carry; ``restore`` reads it."""
        keys = list(self._pieces.items())
        return msgspec.msgpack.encode(_Carried(VERSION, self.watermark, self.now, self.stamp, keys))

    @staticmethod
    def restore(when: When, data: bytes, *, groups: bool = False) -> Levels:
        """Reverse ``snapshot``. All keys are told again, of which those that are the same change nothing.
        Raises StateError for other bytes."""
        try:
            carried = msgspec.msgpack.decode(data, type=_Carried)
        except msgspec.MsgspecError as error:
            raise StateError(f"{len(data)} bytes are no levels of a reconciler: {error}") from error
        if carried.version != VERSION:
            raise StateError(
                f"levels of a reconciler have version {carried.version}, and {VERSION} is known here"
            )
        made = Levels(when, groups=groups)
        made.watermark, made.now, made.stamp = carried.watermark, carried.now, carried.stamp
        made._pieces = dict(carried.keys)
        made._unsaid = dict.fromkeys(made._pieces)
        return made

    def _named(self, key: Key) -> Key:
        if not self.groups:
            return key
        group = group_of_key(key)
        return group if isinstance(group, str) or type(group) is int else key


def _covering(pieces: list[Piece], instant: int) -> int:
    """The place of the piece at ``instant``; -1: nothing is known of it."""
    for place in range(len(pieces) - 1, -1, -1):
        if pieces[place][0] <= instant:
            return place
    return -1


def _value(values: Values, place: int) -> Any:
    if isinstance(values, Flags):
        return bool(values.data[place])
    if isinstance(values, Tagged):
        return values.item(place)
    if not values.known[place]:
        return None
    if values.slope[place]:
        raise StateError(
            "a reconciler acts on a level, and these values grow with time: follow a comparison of them"
        )
    amount = values.num[place]
    whole, rest = divmod(amount, 1_000_000)
    return int(whole) if not rest else float(amount) / 1_000_000
