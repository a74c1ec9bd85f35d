"""Episodes of one key: which True span is which episode, and what is to be said when spans change.

An *episode* is a True span that was told. It keeps its id, ``rule/key/start`` with the start that was sent
first, while some span overlaps or touches what was told of it: of one that goes on, up to the instant of the
telling. ``retell`` compares what was told with the spans as they look now: afterwards both are the same. At
most one message is made for an episode at a time, and it says all there is to say of it.

Instants are microseconds of event time; ``OPEN`` is the end of an episode that goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
        was = {id(one): (one.start, min(one.end, told_to + 1)) for one in self.episodes}
        told = sorted((one for one in self.episodes if one.told), key=lambda one: (one.start, one.first))
        owners = _owners([was[id(one)] for one in told], seen)
        messages: list[Message] = []
        for number, owner in sorted(owners.items()):
            # Whoever was woken for a part of it is awake.
            told[owner].paged = _last_page(one for one in told if _meet(was[id(one)], seen[number]))
            messages += self._kept(told[owner], seen[number], as_of)
        for place, episode in enumerate(told):
            if place not in owners.values():
                met = (told[owners[i]].id for i, span in enumerate(seen) if _meet(was[id(episode)], span))
                messages.append(self._taken_back(episode, was[id(episode)], next(met, None), as_of))
        for number, span in enumerate(seen):
            if number not in owners and (over_before is None or span[1] > over_before):
                # What split off, or comes back, is the same trouble, too.
                same = [one for one in self.episodes if id(one) in was and _meet(was[id(one)], span)]
                messages.append(self._begin(span, same, as_of))
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

    def _kept(self, episode: Episode, span: Span, as_of: int) -> Iterator[Message]:
        was, now = episode.end == OPEN, span[1] == OPEN
        late = now and not episode.heard and not self.muted(as_of)
        if span == (episode.start, episode.end) and not late:
            return
        episode.start, episode.end = span
        kind: Kind = "fire" if late else "moved" if was == now else "resolve" if was else "reopen"
        silent = not episode.heard and not late
        yield self._message(kind, episode, as_of, silent, page=kind in ("fire", "reopen"))

    def _taken_back(self, episode: Episode, was: Span, into: str | None, as_of: int) -> Message:
        kind: Kind = "withdraw" if into is None else "merged"
        message = self._message(kind, episode, as_of, not episode.heard, into=into)
        episode.told = False
        episode.start, episode.end = was
        return message

    def _begin(self, span: Span, same: list[Episode], as_of: int) -> Message:
        episode = self._named(span)
        episode.paged = _last_page((*same, episode))
        goes_on = span[1] == OPEN
        silent = not episode.heard and self.muted(as_of)
        return self._message("fire" if goes_on else "resolve", episode, as_of, silent, page=goes_on)

    def _named(self, span: Span) -> Episode:
        start, end = span
        used = {one.id: one for one in self.episodes}
        name = plain = f"{self.rule}/{key_text(self.key)}/{start}"
        tried = 1
        # Another episode was first told to begin here, and was moved.
        while name in used and (used[name].told or used[name].closed):
            tried += 1
            name = f"{plain}.{tried}"
        episode = used.get(name)
        if episode is None:
            episode = Episode(id=name, first=start, start=start, end=end)
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


def _owners(told: list[Span], spans: list[Span]) -> dict[int, int]:
    """Which of ``told``, in order, each span is, by the numbers of both; a span that is not there is none.

    Each chooses the earliest of the spans that it meets and that is no other's: so of several in one span the
    earliest stays, and of a span that was split its first part.
    """
    owners: dict[int, int] = {}
    for place, one in enumerate(told):
        found = next((i for i, span in enumerate(spans) if i not in owners and _meet(one, span)), None)
        if found is not None:
            owners[found] = place
    return owners


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
