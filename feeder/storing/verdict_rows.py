"""Verdict rows: what routers have decided, in the form in which a history store takes it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feeder.routing.decided import Decided, Messages
from feeder.routing.router import Routed
from timeline_workers.columns.key_table import Key
from timeline_workers.history.model import Followed, Judged, Outcome, Position, RawEvent, Verdict


@dataclass(frozen=True, slots=True)
class Share:
    """What one source ``definition`` makes of messages. ``rows``: those of them that are to be stored;
    ``followed``: how far each partition has been followed with them.
    """

    definition: str
    routed: Routed
    rows: NDArray[np.intp]
    followed: Mapping[int, Followed]


def stored_form(shares: Iterable[Share]) -> tuple[list[RawEvent], list[Judged]]:
    """The events of ``shares``, each once, and what each definition makes of them, once a definition."""
    events: list[RawEvent] = []
    known: set[Position] | None = None
    judged: dict[str, tuple[list[Verdict], dict[int, int | None], dict[int, Followed]]] = {}
    for share in shares:
        decided = share.routed.decided
        positions = _positions(decided.messages, share.rows)
        payloads, published = decided.messages.payloads, decided.messages.published
        rows = zip(positions, share.rows.tolist(), published[share.rows].tolist(), strict=True)
        if not events:
            events = [RawEvent(position, payloads[row], when) for position, row, when in rows]
        else:
            known = {event.position for event in events} if known is None else known
            more = [RawEvent(at, payloads[row], when) for at, row, when in rows if at not in known]
            events += more
            known.update(event.position for event in more)
        verdicts, marks, followed = judged.setdefault(share.definition, ([], {}, {}))
        verdicts += _verdicts(share, positions)
        marks.update((p.partition, p.watermark) for p in share.routed.progress)
        followed.update(share.followed)
    return events, [Judged(name, *found) for name, found in judged.items()]


def _positions(messages: Messages, rows: NDArray[np.intp]) -> list[Position]:
    at = messages.position.take(rows)
    return list(map(Position, at.partition.tolist(), at.major.tolist(), at.minor.tolist()))


def _verdicts(share: Share, positions: Sequence[Position]) -> Iterator[Verdict]:
    decided, rows = share.routed.decided, share.rows
    why = {one.row: (one.reason, one.message) for one in share.routed.refused}
    times = decided.decoded.times[rows].tolist()
    accepted = (decided.valid & ~decided.clocked.late)[rows].tolist()
    for place, (row, key) in enumerate(zip(rows.tolist(), _keys(decided, rows), strict=True)):
        if accepted[place]:
            yield Verdict(positions[place], Outcome.ACCEPTED, key, times[place])
        elif row in why:  # else it is no event, as the watermarks of a changelog
            timed = bool(decided.decoded.timed[row])
            late = bool(decided.clocked.late[row])
            yield Verdict(
                positions[place],
                Outcome.LATE if late else Outcome.REFUSED,
                decided.decoded.keys.get(row) if key is None else key,
                times[place] if timed else None,
                *why[row],
                below=late or (timed and times[place] < int(decided.clocked.before[row])),
            )


def _keys(decided: Decided, rows: NDArray[np.intp]) -> Iterator[Key | None]:
    batch = decided.decoded.batch
    codes = np.full(len(decided.messages), len(batch.keys), np.int64)
    codes[np.asarray(decided.decoded.rows, np.intp)] = batch.key
    names: list[Key | None] = [*batch.keys, None]
    return (names[code] for code in codes[rows].tolist())
