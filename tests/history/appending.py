"""A process that appends to a history until it is killed.

``python -m tests.history.appending KIND FROM ADDRESS`` appends batches ``FROM``, ``FROM + 1``, … and says a
line after each that has returned. Batch ``n`` is the same whoever appends it.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count

from timeline_workers.history.model import (
    Judged,
    Outcome,
    Position,
    RawEvent,
    Revision,
    Stamp,
    Verdict,
    Writer,
)
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore

MANY = 5
WRITER = Writer("duration.p0", "duration")


def events_of(batch: int) -> tuple[list[RawEvent], Judged]:
    raw = [
        RawEvent(Position(0, 0, place), b'{"n": %d}' % place, place)
        for place in range(MANY * batch, MANY * (batch + 1))
    ]
    verdicts = [
        Verdict(one.position, Outcome.ACCEPTED, f"s{one.published % 3}", one.published) for one in raw
    ]
    return raw, Judged("clicks-1", verdicts, {0: MANY * batch})


def revisions_of(batch: int) -> tuple[Stamp, list[Revision]]:
    """Each takes back half of what the one before said."""
    start = 10 * batch
    return (batch, 0), [
        Revision(
            "s1", start, [(start, batch, None), (start + 5, f"{batch}", None), (start + 15, "gone", None)]
        )
    ]


async def append(store: HistoryStore, kind: str, batch: int) -> None:
    if kind == "events":
        raw, judged = events_of(batch)
        await store.append_events("clicks", raw, [judged])
    else:
        await store.append_revisions(WRITER, *revisions_of(batch))


async def main(kind: str, first: int, address: str) -> None:
    store = await open_history(address)
    for batch in count(first):
        await append(store, kind, batch)
        print(batch, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
