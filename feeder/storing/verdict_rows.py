"""Verdict rows: what routers have decided, in the form in which a history store takes it. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feeder.routing.decided import Decided
from feeder.routing.router import Routed
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Int64
from timeline_workers.history.block_columns import EventColumns, VerdictColumns, first_of_each
from timeline_workers.history.model import Followed, Judged, Outcome
from timeline_workers.history.verdicts import code_of


@dataclass(frozen=True, slots=True)
class Share:
    """What one source ``definition`` makes of messages. ``rows``: those of them that are to be stored;
    ``followed``: how far each partition has been followed with them.
    """

    definition: str
    routed: Routed
    rows: NDArray[np.intp]
    followed: Mapping[int, Followed]


def stored_form(shares: Iterable[Share]) -> tuple[EventColumns, list[Judged]]:
    """The events of ``shares``, each once, and what each definition makes of them, once a definition."""
    events: list[EventColumns] = []
    judged: dict[str, tuple[list[VerdictColumns], dict[int, int | None], dict[int, Followed]]] = {}
    for share in shares:
        messages = share.routed.decided.messages
        of_share = EventColumns(messages.position, messages.payloads, messages.published)
        events.append(of_share if _all(share) else of_share.take(share.rows))
        verdicts, marks, followed = judged.setdefault(share.definition, ([], {}, {}))
        verdicts.append(_verdicts(share))
        marks.update((p.partition, p.watermark) for p in share.routed.progress)
        followed.update(share.followed)
    joined = EventColumns.joined(events)
    rows = first_of_each(joined.position)
    return joined if rows is None else joined.take(rows), [
        Judged(name, VerdictColumns.joined(verdicts), marks, followed)
        for name, (verdicts, marks, followed) in judged.items()
    ]


def _all(share: Share) -> bool:
    return len(share.rows) == len(share.routed.decided.messages)


def _verdicts(share: Share) -> VerdictColumns:
    decided = share.routed.decided
    decoded, late = decided.decoded, decided.clocked.late
    code = np.where(
        decided.valid & ~late,
        code_of(Outcome.ACCEPTED, False),
        np.where(
            late,
            code_of(Outcome.LATE, True),
            code_of(Outcome.REFUSED, False) + (decoded.timed & (decoded.times < decided.clocked.before)),
        ),
    ).astype(np.uint8)
    why = {one.row: (one.reason, one.message) for one in share.routed.refused}
    keys, key = _keys(decided, why)
    judged = decided.valid & ~late
    judged[list(why)] = True  # else it is no event, as the watermarks of a changelog
    rows = share.rows if judged.all() else share.rows[judged[share.rows]]
    places = dict(zip(rows.tolist(), range(len(rows)), strict=True)) if why else {}
    return VerdictColumns(
        decided.messages.position.take(rows),
        code[rows],
        keys,
        key[rows],
        decoded.times[rows],
        decoded.timed[rows],
        {places[row]: said for row, said in why.items() if row in places},
    )


def _keys(decided: Decided, refused: Collection[int]) -> tuple[list[Key], Int64]:
    """The distinct keys, and which of them each message has; -1 for none that can be read."""
    batch = decided.decoded.batch
    codes = np.full(len(decided.messages), -1, np.int64)
    codes[np.asarray(decided.decoded.rows, np.intp)] = batch.key
    keys = list(batch.keys)
    places: dict[Key, int] | None = None
    for row in refused:
        name = decided.decoded.keys.get(row)
        if codes[row] < 0 and name is not None:
            if places is None:
                places = {one: place for place, one in enumerate(keys)}
            codes[row] = places.setdefault(name, len(places))
            if codes[row] == len(keys):
                keys.append(name)
    return keys, codes
