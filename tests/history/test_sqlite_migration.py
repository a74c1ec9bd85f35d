"""A SQLite store of version 3, with a row for each event and verdict, answers the same from blocks."""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path

from timeline_workers.history.model import Followed, Judged, Outcome, Position, RawEvent, Verdict
from timeline_workers.history.sqlite_store import SqliteStore

from .stores import tiny_blocks
from .version_3 import write_version_3

ALL = frozenset(Outcome)


def appends(many: int) -> list[tuple[list[RawEvent], Judged]]:
    """Events of two partitions each, judged by two definitions in turn, some refused and without time."""
    found = []
    for batch in range(many):
        events, verdicts = [], []
        for place in range(5):
            number = 5 * batch + place
            position = Position(number % 2, batch // 3, number)
            events.append(RawEvent(position, f"event {number}".encode(), 100 + number))
            if number % 7 == 3:
                verdicts.append(Verdict(position, Outcome.REFUSED, None, None, "not-json", f"no {number}"))
            else:
                outcome = Outcome.LATE if number % 11 == 5 else Outcome.ACCEPTED
                verdicts.append(
                    Verdict(position, outcome, number % 4 or "s", number, below=outcome is Outcome.LATE)
                )
        followed = {p: Followed(batch // 3, 5 * batch + 4 - p, number) for p in (0, 1)}
        found.append((events, Judged(f"clicks-{batch % 2}", verdicts, {}, followed)))
    return found


async def answers(store: SqliteStore) -> list[object]:
    """What both stores must say alike."""
    said: list[object] = []
    for name in ("clicks-0", "clicks-1"):
        said += [
            await store.events(name, 0, 1_000, outcomes=ALL),
            await store.events(name, 20, 90, as_of=9, limit=7),
            await store.events(name, 0, 1_000, keys=["s", 3], backwards=True),
            await store.events(name, 0, 1_000, outcomes=ALL, seen_after=11),
            await store.keys_active(name, 0, 1_000),
            await store.density(name, 0, 1_000, 9),
            await store.followed(name),
        ]
    said += [await store.raw_events("clicks", partition, limit=1_000) for partition in (0, 1)]
    status = await store.status()
    return [*said, status.events, [(one.outcomes, one.first, one.last) for one in status.definitions]]


async def test_old_store_is_read_as_it_was(tmp_path: Path) -> None:
    """Also what was seen when; what is appended again is known, and what is new goes on from there."""
    given = appends(20)
    write_version_3(tmp_path / "old.db", "clicks", given)
    with tiny_blocks():
        clock = count(1)
        new = await SqliteStore.open(tmp_path / "new.db", now=lambda: next(clock))
        for events, judged in given:
            await new.append_events("clicks", events, [judged])
        old = await SqliteStore.open(tmp_path / "old.db", now=lambda: 0)
        try:
            expected = await answers(new)
            assert len(expected[0]) == 42  # type: ignore[arg-type]  # of 50, those that have a time
            assert await answers(old) == expected
            assert not (await old.append_events("clicks", *[given[7][0], [given[7][1]]])).fresh
            events, judged = appends(21)[20]
            assert (await old.append_events("clicks", events, [judged])).seen == 21
            assert (await new.append_events("clicks", events, [judged])).seen == 21
            assert await answers(old) == await answers(new)
        finally:
            await old.close()
            await new.close()
    file = sqlite3.connect(tmp_path / "old.db")
    tables = {row[0] for row in file.execute("select name from sqlite_master where type = 'table'")}
    assert file.execute("pragma user_version").fetchone() == (4,)
    file.close()
    assert not tables & {"events", "verdicts", "blocks"}
