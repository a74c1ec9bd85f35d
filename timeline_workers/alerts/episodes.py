"""Episodes of one key: which True span is which episode, and what is to be said when spans change.

An *episode* is a True span that was told. It keeps its id, ``rule/key/start`` with the start that was sent
first, while some span overlaps or touches what was told of it: of one that goes on, up to the instant of the
telling. ``retell`` compares what was told with the spans as they look now: afterwards both are the same. At
most one message is made for an episode at a time, and it says all there is to say of it.

Instants are microseconds of event time; ``OPEN`` is the end of an episode that goes on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal as Choice, TypeAlias

import msgspec

from .true_spans import OPEN, Span

Kind: TypeAlias = Choice["fire", "moved", "resolve", "reopen", "withdraw", "merged"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is told of an episode: all that is known of it, so that a later message makes an earlier one
    needless.

    ``kind``: ``fire``, a new episode that goes on; ``moved``, its start, or an end that had been told, is
    another; ``resolve``, it is over; ``reopen``, it goes on after all; ``withdraw``, there was no episode;
    ``merged``, it is part of the episode ``into``. ``episode``: its id; ``seq``: 1 for the first message of
    an episode; ``start``, ``end``: what is true now, or was told last where that is taken back, end None
    while it goes on; ``as_of``: the instant at which it looks so; ``page``: somebody should be woken;
    ``muted``: kept, and sent to nobody; ``new``: nobody was sent anything of the episode before.
    """

    kind: Kind
    rule: str
    key: str | int
    episode: str
    seq: int
    start: int
    end: int | None = None
    as_of: int
    page: bool = False
    muted: bool = False
    new: bool = False
    into: str | None = None

    @property
    def is_firing(self) -> bool:
        """Whether the episode goes on."""
        return self.end is None and self.kind not in ("withdraw", "merged")


class Episode(msgspec.Struct, kw_only=True):
    """What was told of one. ``first``: the start that its id is made of; ``told``: False once it was taken
    back: then it is kept for its number and its last page; ``closed``: it is final, and only its id is kept;
    ``heard``: somebody was told of it; ``paged``: when last.
    """

    id: str
    first: int
    start: int
    end: int
    seq: int = 0
    told: bool = True
    closed: bool = False
    heard: bool = False
    paged: int | None = None


@dataclass
class KeyEpisodes:
    """The episodes of ``key`` under ``rule``. ``repeat``: no second page of the same trouble within it, in
    microseconds; ``muted``: whether nobody is to hear of what begins at an instant."""

    rule: str
    key: str | int
    repeat: int
    muted: Callable[[int], bool] = lambda instant: False
    episodes: list[Episode] = field(default_factory=list)

    def retell(
        self, spans: Iterable[Span], as_of: int, told_to: int, over_before: int | None = None
    ) -> list[Message]:
        """What makes ``spans``, those that are seen at ``as_of``, known.

        ``told_to``: the ``as_of`` before: so far what was told to go on was told to have gone on. What ended
        at or before ``over_before`` and belongs to no episode is not told.
        """
        seen = list(spans)
        told = sorted((one for one in self.episodes if one.told), key=lambda one: one.start)
        was = [_said(one, told_to) for one in told]
        gone = [(one, _said(one, told_to)) for one in self.episodes if not one.told]
        owners = _owners(was, seen)
        claimed = set(owners.values())
        messages: list[Message] = []
        for number, owner in sorted(owners.items()):
            if self._is_news(told[owner], seen[number], as_of):
                # Whoever was woken for a part of it is awake.
                told[owner].paged = _last_page(told[i] for i in _meeting(was, seen[number]))
                messages.append(self._changed(told[owner], seen[number], as_of))
        for place, episode in enumerate(told):
            if place not in claimed:
                met = (told[owners[i]].id for i in _meeting(seen, was[place]))
                messages.append(self._taken_back(episode, was[place], next(met, None), as_of))
        used = {one.id: one for one in self.episodes}
        for number, span in enumerate(seen):
            if number not in owners and (over_before is None or span[1] > over_before):
                # What split off, or comes back, is the same trouble, too.
                same = [told[i] for i in _meeting(was, span)]
                same += [one for one, before in gone if _meet(before, span)]
                messages.append(self._begin(span, same, used, as_of))
        return messages

    def forget(self, before: int) -> None:
        """Forget the episodes that lie before ``before``, where nothing changes any more."""
        for one in self.episodes:
            if one.end < before:
                one.told, one.closed = False, one.told or one.closed
        self.episodes = [one for one in self.episodes if one.end >= before or one.first >= before]

    @property
    def unheard(self) -> bool:
        """Whether an episode goes on that nobody was told of."""
        return any(one.told and one.end == OPEN and not one.heard for one in self.episodes)

    def _is_news(self, episode: Episode, span: Span, as_of: int) -> bool:
        return span != (episode.start, episode.end) or self._is_late(episode, span, as_of)

    def _is_late(self, episode: Episode, span: Span, as_of: int) -> bool:
        """Whether it began under a mute, and goes on after it."""
        return span[1] == OPEN and not episode.heard and not self.muted(as_of)

    def _changed(self, episode: Episode, span: Span, as_of: int) -> Message:
        was, now, late = episode.end == OPEN, span[1] == OPEN, self._is_late(episode, span, as_of)
        episode.start, episode.end = span
        kind: Kind = "fire" if late else "moved" if was == now else "resolve" if was else "reopen"
        silent = not episode.heard and not late
        return self._message(kind, episode, as_of, silent, page=kind in ("fire", "reopen"))

    def _taken_back(self, episode: Episode, was: Span, into: str | None, as_of: int) -> Message:
        kind: Kind = "withdraw" if into is None else "merged"
        message = self._message(kind, episode, as_of, not episode.heard, into=into)
        episode.told = False
        episode.start, episode.end = was
        return message

    def _begin(self, span: Span, same: list[Episode], used: dict[str, Episode], as_of: int) -> Message:
        episode = self._named(span, used)
        episode.paged = _last_page((*same, episode))
        goes_on = span[1] == OPEN
        silent = not episode.heard and self.muted(as_of)
        return self._message("fire" if goes_on else "resolve", episode, as_of, silent, page=goes_on)

    def _named(self, span: Span, used: dict[str, Episode]) -> Episode:
        start, end = span
        name = plain = f"{self.rule}/{key_text(self.key)}/{start}"
        tried = 1
        # Another episode was first told to begin here, and was moved.
        while name in used and (used[name].told or used[name].closed):
            tried += 1
            name = f"{plain}.{tried}"
        episode = used.get(name)
        if episode is None:
            episode = used[name] = Episode(id=name, first=start, start=start, end=end)
            self.episodes.append(episode)
        episode.start, episode.end, episode.told = start, end, True
        return episode

    def _message(
        self,
        kind: Kind,
        episode: Episode,
        as_of: int,
        silent: bool,
        *,
        page: bool = False,
        into: str | None = None,
    ) -> Message:
        episode.seq += 1
        waited = episode.paged is None or as_of - episode.paged >= self.repeat
        page = page and waited and not silent and not self.muted(as_of)
        episode.paged = as_of if page else episode.paged
        new = not episode.heard and not silent
        episode.heard = episode.heard or not silent
        return Message(
            kind=kind,
            rule=self.rule,
            key=self.key,
            episode=episode.id,
            seq=episode.seq,
            start=episode.start,
            end=None if episode.end == OPEN else episode.end,
            as_of=as_of,
            page=page,
            muted=silent,
            new=new,
            into=into,
        )


def _said(episode: Episode, told_to: int) -> Span:
    """The span that was told: one that goes on was told to do so up to ``told_to``."""
    return episode.start, min(episode.end, told_to + 1)


def _owners(told: list[Span], spans: list[Span]) -> dict[int, int]:
    """Which of ``told`` each span is, by the numbers of both; a span that is not there is none. Both are in
    order, and of neither do two meet.

    Each chooses the earliest of the spans that it meets and that is no other's: so of several in one span the
    earliest stays, and of a span that was split its first part. What is before a span that was chosen meets
    none that comes later.
    """
    owners: dict[int, int] = {}
    free = 0
    for place, one in enumerate(told):
        meeting = _meeting(spans, one)
        first = max(meeting.start, free)
        if first < meeting.stop:
            owners[first] = place
            free = first + 1
    return owners


def _meeting(spans: list[Span], other: Span) -> range:
    """The numbers of ``spans``, in order and apart, that overlap or touch ``other``."""
    low = bisect_left(spans, other[0], key=lambda span: span[1])
    return range(low, max(low, bisect_right(spans, other[1], key=lambda span: span[0])))


def _last_page(episodes: Iterable[Episode]) -> int | None:
    return max((one.paged for one in episodes if one.paged is not None), default=None)


def _meet(one: Span, other: Span) -> bool:
    """Whether two spans overlap or touch."""
    return one[0] <= other[1] and other[0] <= one[1]


def key_text(key: str | int) -> str:
    """A key in an id: a text as it is, unless it looks like a number."""
    if isinstance(key, str):
        return msgspec.json.encode(key).decode() if key.lstrip("-").isdigit() or key[:1] == '"' else key
    return str(key)
