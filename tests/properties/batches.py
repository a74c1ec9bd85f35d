"""From the oracle's events to the engine's batches, and from its timelines back to the oracle's pieces."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tests.oracle.events import Event, Key
from tests.oracle.numbers import INT64_MAX, SECOND
from tests.oracle.oracle import Piece, Pieces
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.values import Flags, Linear, Tagged


def batch_of(events: Sequence[Event]) -> EventBatch:
    """The events in columns, in the order given; every column that any of them names."""
    keys: list[Key] = []
    codes: dict[tuple[type, Key], int] = {}
    for event in events:
        if (type(event.key), event.key) not in codes:
            codes[type(event.key), event.key] = len(keys)
            keys.append(event.key)
    partition, major, minor = zip(*(e.position for e in events), strict=True) if events else ((), (), ())
    names = sorted({name for event in events for name in event.columns})
    return EventBatch(
        keys=keys,
        key=np.array([codes[type(e.key), e.key] for e in events], np.int32),
        time=np.array([e.time for e in events], np.int64),
        position=Positions(
            np.array(partition, np.int32), np.array(major, np.int64), np.array(minor, np.int64)
        ),
        columns={name: Tagged.of([e.columns.get(name) for e in events]) for name in names},
    )


def pieces_of(timeline: Timeline, row: int) -> Pieces:
    """The pieces of key number ``row``, as the timeline holds them."""
    values = timeline.values
    pieces = []
    for i in range(int(timeline.offsets[row]), int(timeline.offsets[row + 1])):
        start = int(timeline.starts[i])
        match values:
            case Flags():
                pieces.append(Piece(start, bool(values.data[i])))
            case Tagged():
                pieces.append(Piece(start, values.item(i)))
            case Linear():
                if not values.known[i]:
                    pieces.append(Piece(start, None))
                else:
                    value = _rational(values.num[i]) / SECOND
                    pieces.append(Piece(start, value, _rational(values.slope[i])))
    return pieces


def _rational(number: object) -> Fraction:
    return number if isinstance(number, Fraction) else Fraction(int(number))  # type: ignore[call-overload]


def within_time(pieces: Pieces) -> Pieces:
    """Without the pieces that start after the last instant that 64 bits can say."""
    return [piece for piece in pieces if piece.start <= INT64_MAX]


def shown(pieces: Pieces) -> list[tuple[int, str, str]]:
    """Pieces for comparing and reading: 1 and 1.0 and True differ, exact and plain numbers differ."""
    return [(p.start, repr(p.value), str(p.slope)) for p in pieces]
