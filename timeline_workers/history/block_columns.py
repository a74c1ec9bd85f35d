"""Events and verdicts in columns: sequences of ``RawEvent`` and ``Verdict`` that a store takes as they are.

Who has many of them at hand as columns, as the feeder has, makes no object of each. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.rows import FOREVER
from timeline_workers.columns.values import Bools, Int64

from .model import Outcome, Position, RawEvent, Verdict
from .verdicts import OUTCOMES, code_of

Rows = NDArray[np.intp]
_ACCEPTED = OUTCOMES.index(Outcome.ACCEPTED)


@dataclass(frozen=True, eq=False)
class EventColumns(Sequence[RawEvent]):
    """N events of one topic. ``published``: int64[N], microseconds."""

    position: Positions
    payloads: Sequence[bytes]
    published: Int64

    @staticmethod
    def of(events: Sequence[RawEvent]) -> EventColumns:
        """``events`` in columns."""
        if isinstance(events, EventColumns):
            return events
        return EventColumns(
            positions_of([event.position for event in events]),
            [event.payload for event in events],
            np.array([event.published for event in events], np.int64),
        )

    @staticmethod
    def joined(parts: Sequence[EventColumns]) -> EventColumns:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        return EventColumns(
            joined_positions([part.position for part in parts]),
            [payload for part in parts for payload in part.payloads],
            np.concatenate([part.published for part in parts]) if parts else np.zeros(0, np.int64),
        )

    def take(self, rows: Rows) -> EventColumns:
        """The events of ``rows``."""
        payloads = [self.payloads[row] for row in rows.tolist()]
        return EventColumns(self.position.take(rows), payloads, self.published[rows])

    def __len__(self) -> int:
        return len(self.payloads)

    def __iter__(self) -> Iterator[RawEvent]:
        at = map(Position, *_lists(self.position))
        return map(RawEvent, at, self.payloads, self.published.tolist())

    @overload
    def __getitem__(self, at: int) -> RawEvent: ...
    @overload
    def __getitem__(self, at: slice) -> EventColumns: ...
    def __getitem__(self, at: int | slice) -> RawEvent | EventColumns:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        return RawEvent(position_at(self.position, at), self.payloads[at], int(self.published[at]))


@dataclass(frozen=True, eq=False)
class VerdictColumns(Sequence[Verdict]):
    """N verdicts of one definition.

    ``code``: uint8[N], as ``verdicts.code_of``; ``keys``: distinct keys; ``key``: int64[N], index into them,
    -1 for none; ``time``: int64[N], where ``timed``; ``words``: of some rows, reason and message.
    """

    position: Positions
    code: NDArray[np.uint8]
    keys: Sequence[Key]
    key: Int64
    time: Int64
    timed: Bools
    words: Mapping[int, tuple[str, str]]

    @staticmethod
    def of(verdicts: Sequence[Verdict]) -> VerdictColumns:
        """``verdicts`` in columns."""
        if isinstance(verdicts, VerdictColumns):
            return verdicts
        places: dict[Key, int] = {}
        key = [-1 if v.key is None else places.setdefault(v.key, len(places)) for v in verdicts]
        return VerdictColumns(
            positions_of([v.position for v in verdicts]),
            np.array([code_of(v.outcome, v.below) for v in verdicts], np.uint8),
            list(places),
            np.array(key, np.int64),
            np.array([v.time or 0 for v in verdicts], np.int64),
            np.array([v.time is not None for v in verdicts], np.bool_),
            {row: (v.reason, v.message) for row, v in enumerate(verdicts) if v.reason or v.message},
        )

    @staticmethod
    def joined(parts: Sequence[VerdictColumns]) -> VerdictColumns:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        places: dict[Key, int] = {}
        keys: list[Any] = []
        words: dict[int, tuple[str, str]] = {}
        first = 0
        for part in parts:
            # One more for -1, which is the last one of all.
            numbers = [places.setdefault(name, len(places)) for name in part.keys]
            keys.append(np.array([*numbers, -1], np.int64)[part.key])
            words |= {first + row: said for row, said in part.words.items()}
            first += len(part)
        return VerdictColumns(
            joined_positions([part.position for part in parts]),
            _joined([part.code for part in parts], np.uint8),
            list(places),
            _joined(keys, np.int64),
            _joined([part.time for part in parts], np.int64),
            _joined([part.timed for part in parts], np.bool_),
            words,
        )

    def __len__(self) -> int:
        return len(self.code)

    def __iter__(self) -> Iterator[Verdict]:
        names: list[Key | None] = [*self.keys, None]
        columns = (self.code.tolist(), self.key.tolist(), self.time.tolist(), self.timed.tolist())
        places = zip(*_lists(self.position), strict=True)
        for row, (at, code, key, time, timed) in enumerate(zip(places, *columns, strict=True)):
            said = self.words.get(row, ("", ""))
            when = time if timed else None
            yield Verdict(Position(*at), OUTCOMES[code // 2], names[key], when, *said, below=bool(code % 2))

    @overload
    def __getitem__(self, at: int) -> Verdict: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Verdict]: ...
    def __getitem__(self, at: int | slice) -> Verdict | Sequence[Verdict]:
        if isinstance(at, slice):
            return [self[row] for row in range(len(self))[at]]
        code, key = int(self.code[at]), int(self.key[at])
        return Verdict(
            position_at(self.position, at),
            OUTCOMES[code // 2],
            None if key < 0 else self.keys[key],
            int(self.time[at]) if self.timed[at] else None,
            *self.words.get(at if at >= 0 else at + len(self), ("", "")),
            below=bool(code % 2),
        )


def positions_of(places: Sequence[Position]) -> Positions:
    """``places`` in columns."""
    numbers = np.array(places, np.int64).reshape(len(places), 3)
    return Positions(numbers[:, 0].astype(np.int32), numbers[:, 1].copy(), numbers[:, 2].copy())


def joined_positions(parts: Sequence[Positions]) -> Positions:
    """One after the other."""
    return Positions(
        _joined([part.partition for part in parts], np.int32),
        _joined([part.major for part in parts], np.int64),
        _joined([part.minor for part in parts], np.int64),
    )


def _lists(positions: Positions) -> tuple[list[int], list[int], list[int]]:
    return positions.partition.tolist(), positions.major.tolist(), positions.minor.tolist()


def position_at(positions: Positions, at: int) -> Position:
    """One of them."""
    return Position(int(positions.partition[at]), int(positions.major[at]), int(positions.minor[at]))


def _joined(parts: Sequence[Any], kind: Any) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def first_of_each(positions: Positions) -> Rows | None:
    """The rows, ascending by position, of the first of those that have one position; None where these are
    all, in their order.
    """
    partition, major, minor = positions.partition, positions.major, positions.minor
    if len(minor) < 2 or _ascend(partition, major, minor).all():
        return None
    order = np.lexsort((minor, major, partition))  # stable
    keep = np.ones(len(order), np.bool_)
    keep[1:] = _ascend(partition[order], major[order], minor[order])
    return order[keep]


def _ascend(partition: Any, major: Any, minor: Any) -> Bools:
    """Of each row but the first, whether its position is greater than that of the one before."""
    later: Bools = (major[1:] > major[:-1]) | ((major[1:] == major[:-1]) & (minor[1:] > minor[:-1]))
    higher: Bools = (partition[1:] > partition[:-1]) | ((partition[1:] == partition[:-1]) & later)
    return higher


def by_partition(positions: Positions) -> list[tuple[int, slice]]:
    """The rows of each partition; ``positions`` are in order."""
    partition = positions.partition
    if not len(partition):
        return []
    cuts = [0, *(np.flatnonzero(partition[1:] != partition[:-1]) + 1).tolist(), len(partition)]
    return [(int(partition[low]), slice(low, high)) for low, high in pairwise(cuts)]


def same_positions(one: Positions, other: Positions) -> bool:
    """Whether these are the same places in the same order."""
    if one is other:
        return True
    return (
        np.array_equal(one.minor, other.minor)
        and np.array_equal(one.major, other.major)
        and np.array_equal(one.partition, other.partition)
    )


def places(positions: Positions) -> set[Position]:
    """``positions`` one by one."""
    return set(map(Position, *_lists(positions)))


def firsts_of(verdicts: VerdictColumns, numbers: Int64) -> tuple[Int64, Int64]:
    """The numbers of the keys that have events which count, or would under another expression, and the
    earliest time of each. ``numbers``: of all keys.
    """
    counts = (verdicts.code // 2 == _ACCEPTED) | (verdicts.code == code_of(Outcome.REFUSED, False))
    counts &= verdicts.timed & (verdicts.key >= 0)
    firsts = np.full(len(verdicts.keys), FOREVER, np.int64)
    np.minimum.at(firsts, verdicts.key[counts], verdicts.time[counts])
    there = np.zeros(len(verdicts.keys), np.bool_)
    there[verdicts.key[counts]] = True
    return numbers[: len(firsts)][there], firsts[there]
