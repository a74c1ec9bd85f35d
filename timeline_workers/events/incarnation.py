"""Incarnations of a topic, which are part of positions, and whether a topic is still the one that was fed.

No I/O. A broker numbers ledgers and entries. When its data are gone, or on the embedded broker a topic is,
it numbers from the beginning again: the same place then is another message's. So a position's ``major`` is
``incarnation << 44 | ledger``; places of a later incarnation come after all of an earlier one, and whatever
compares positions need not know of it. Incarnation 0 is the first, and that of all states of earlier
releases.

Which incarnation a topic has is not stored anywhere by itself: it follows from the furthest place that the
leaves have (the *mark*), with the time at which the message there was published, and from what the broker
shows now (``judge``). So several feeders, and one that is started again, come to the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

LEDGER_BITS = 44
_LEDGERS = 2**LEDGER_BITS
ENTRY_STEP = 2**16
# The index of a message that is the only one of its entries, and of several.
WHOLE_ENTRY = ENTRY_STEP - 1


class Place(NamedTuple):
    """A place within one partition as the broker knows it: ``minor`` is entry * 65536 + batch index."""

    ledger: int
    minor: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message's place, and when it was published, microseconds (None: not known)."""

    place: Place
    published: int | None


class Mark(NamedTuple):
    """How far a partition was fed: a position, and when its message was published (None: not known)."""

    major: int
    minor: int
    published: int | None

    def rank(self) -> tuple[int, int]:
        """What of two marks is the further by."""
        return self.major, self.minor

    @property
    def place(self) -> Place:
        """The place, as the broker knows it."""
        return Place(ledger_of(self.major), self.minor)

    @property
    def whole(self) -> bool:
        """Whether it is after a whole entry: a message in chunks, or what comes before another message."""
        return self.minor % ENTRY_STEP == WHOLE_ENTRY

    @property
    def witness(self) -> Message:
        """The message that must be there if nothing is missing; its entry is below 0 where there is none."""
        if not self.whole:
            return Message(self.place, self.published)
        # Who takes up a partition may say that it is fed up to just before a message: not published then.
        return Message(Place(ledger_of(self.major), self.minor - WHOLE_ENTRY), None)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a partition shows of itself now. ``first``: its first message; ``at``: its first message at or
    after the mark's witness. None where there is none.
    """

    first: Message | None
    at: Message | None


class Verdict(Enum):
    """What became of the message at a mark."""

    KEPT = "kept"
    """It is there, or nothing says otherwise."""
    DELETED = "deleted"
    """It and all before it are gone: what followed it may be gone, too. Places go on from there."""
    RECREATED = "recreated"
    """The topic is another one, whose places say nothing about the mark."""
    CUT = "cut"
    """The topic has lost its end, the mark with it, and has used places again since."""


def major_of(incarnation: int, ledger: int) -> int:
    """The major part of a position."""
    return incarnation << LEDGER_BITS | ledger


def incarnation_of(major: int) -> int:
    """The incarnation of a position's major part; 0 for one before every message."""
    return max(major >> LEDGER_BITS, 0)


def ledger_of(major: int) -> int:
    """The ledger of a position's major part; -1 for one before every message."""
    return major % _LEDGERS if major >= 0 else major


def shown_place(major: int, minor: int) -> str:
    """A position as people read it: ``ledger:entry:index``, as the broker counts them, and after the first
    incarnation ``#`` and its number, as in ``12:5:0#1``.
    """
    entry, index = divmod(minor, ENTRY_STEP)
    incarnation = incarnation_of(major)
    of = f"#{incarnation}" if incarnation else ""
    return f"{ledger_of(major)}:{entry}:{0 if index == WHOLE_ENTRY else index}{of}"


def place_order(shown: str) -> tuple[int, ...]:
    """What a position as ``shown_place`` writes it is sorted by. Raises ValueError for anything else."""
    place, _, incarnation = shown.partition("#")
    return int(incarnation or 0), *map(int, place.split(":"))


def judge(mark: Mark, shown: Shown) -> Verdict:
    """Decide what became of the message at ``mark``, which was fed.

    A topic counts as another one only where it cannot be otherwise: places went back; another message, by
    its publish time, is at the mark; or none is, where others lie before and beyond. For within one
    incarnation a broker deletes from the front only, and never writes a place again. When its first message
    is no newer than the mark, it is the same topic, without its end.
    """
    first, at, witness = shown.first, shown.at, mark.witness
    if at is None:
        if first is None or first.place > mark.place:
            return Verdict.KEPT
    elif witness.place.minor < 0:
        return Verdict.KEPT
    elif at.place == witness.place:
        if None in (witness.published, at.published) or witness.published == at.published:
            return Verdict.KEPT
    elif first is None or first.place > mark.place:
        return Verdict.DELETED
    if first is None or first.published is None or mark.published is None:
        return Verdict.RECREATED
    return Verdict.RECREATED if first.published > mark.published else Verdict.CUT
