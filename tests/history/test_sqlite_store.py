"""The SQLite store's own: what a file may be, how it is written, and which indexes questions use."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from functools import partial
from pathlib import Path

import pytest

from timeline_workers.errors import Code, HistoryError, NoHistoryError, SettingsError
from timeline_workers.history.model import (
    Followed,
    Judged,
    Outcome,
    Position,
    RawEvent,
    Revision,
    Scope,
    Verdict,
    Writer,
)
from timeline_workers.history.open import open_history
from timeline_workers.history.sqlite_store import READERS, SqliteStore
from timeline_workers.settings.history_settings import sqlite_address

from .stores import tiny_blocks
from .version_3 import write_version_3


async def test_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("create table theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match=r"other.db is the database of another program") as refused:
        await SqliteStore.open(path)
    assert refused.value.code is Code.STORE_DOWN
    assert path.read_bytes() == before


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("this is no database at all, and long enough to be looked at" * 20)
    with pytest.raises(HistoryError, match=r"notes.txt cannot be opened: .*not a database") as refused:
        await SqliteStore.open(path)
    assert not refused.value.may_pass


async def test_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    await (await SqliteStore.open(path)).close()
    later = sqlite3.connect(path)
    later.execute("pragma user_version = 99")
    later.close()
    with pytest.raises(HistoryError, match="has version 99, and this release reads 4"):
        await SqliteStore.open(path)


async def test_store_of_version_1_learns_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    write_version_3(path, "clicks", [])
    earlier = sqlite3.connect(path)
    earlier.executescript(
        "drop table followed; alter table definitions drop column kept_from; "
        "alter table nodes drop column kept_from; pragma user_version = 1;"
    )
    earlier.close()
    store = await SqliteStore.open(path)
    await store.append_events("clicks", [], [Judged("clicks-1", [], {}, {0: Followed(0, 7, None)})])
    assert await store.followed("clicks-1") == {0: Followed(0, 7, None)}
    await store.forget(5, of=Scope(definitions=["clicks-1"]))
    assert (await store.status()).definitions[0].kept_from == 5
    await store.close()


async def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match=r"file/history.db cannot be made"):
        await SqliteStore.open(tmp_path / "file" / "history.db")


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("mysql://there", "'mysql://there': mysql: is no kind of a history; write sqlite:PATH"),
        ("sqlite:", "'sqlite:': sqlite: names no file; write sqlite:PATH"),
        ("postgres:here", "names no server; write .* postgresql://USER"),
        ("/data/history.db", "'/data/history.db': it names no kind of a history; write sqlite:PATH"),
        ("mysql://me:do-not-tell@db/history", "^history: mysql: is no kind"),
    ],
)
async def test_other_addresses_are_refused(address: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=rule) as refused:
        await open_history(address)
    assert "do-not-tell" not in str(refused.value)


@pytest.mark.parametrize("there", [False, True])
async def test_who_only_looks_makes_no_store(tmp_path: Path, there: bool) -> None:
    """Neither the folder nor the file, nor a store in an empty file."""
    path = tmp_path / "new" / "history.db"
    if there:
        path.parent.mkdir()
        path.touch()
    with pytest.raises(NoHistoryError, match=rf"^no history at {path}; name .* TIMELINE_HISTORY") as refused:
        await open_history(sqlite_address(path), create=False)
    assert refused.value.may_pass
    assert path.exists() is path.parent.exists() is there
    assert not there or path.stat().st_size == 0
    await (await open_history(sqlite_address(path))).close()
    await (await open_history(sqlite_address(path), create=False)).close()


async def test_commits_are_synced_and_readers_cannot_write(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "history.db")
    try:
        synced = await store._write(lambda to: to.connection.execute("pragma synchronous").fetchone())
        mode = await store._write(lambda to: to.connection.execute("pragma journal_mode").fetchone())
        assert (synced, mode) == ((2,), ("wal",))
        with pytest.raises(HistoryError, match="readonly"):
            await store._read(lambda of: of.execute("delete from pieces"))
    finally:
        await store.close()


async def test_system_time_goes_on_over_restarts(tmp_path: Path) -> None:
    path, clock = tmp_path / "history.db", iter([100, 50, 60, 200])
    store = await SqliteStore.open(path, now=lambda: next(clock))
    first = await store.append_events("t", [RawEvent(Position(0, 0, 0), b"a")])
    second = await store.append_events("t", [RawEvent(Position(0, 0, 1), b"b")])
    await store.close()
    store = await SqliteStore.open(path, now=lambda: next(clock))
    third = await store.append_events("t", [RawEvent(Position(0, 0, 2), b"c")])
    fourth = await store.append_events("t", [RawEvent(Position(0, 0, 3), b"d")])
    await store.close()
    assert [one.seen for one in (first, second, third, fourth)] == [100, 101, 102, 200]


async def test_readers_go_on_while_somebody_writes(tmp_path: Path) -> None:
    """They see what was there before the transaction that is open."""
    path = tmp_path / "history.db"
    store = await SqliteStore.open(path)
    try:
        await store.append_revisions(Writer("w", "a"), (1, 0), [Revision("s1", 0, [(0, True, None)])])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("begin immediate")
        other.execute("delete from pieces")
        assert len(await store.snapshot(["a"], 5)) == 1
        other.execute("rollback")
        other.close()
    finally:
        await store.close()


def plan_of(text: str, connection: sqlite3.Connection) -> str:
    return " / ".join(row[3] for row in connection.execute(f"explain query plan {text}"))


async def test_questions_about_keys_use_their_index(tmp_path: Path) -> None:
    """Neither lanes of a key nor what changed in it are found by reading those of others."""
    store = await SqliteStore.open(tmp_path / "history.db")
    plans: list[str] = []
    expected = [
        ("select n.name, k.name, p.began", "pieces_of_key"),
        ("with touched", "pieces_as_seen"),
    ]

    everybody = threading.Barrier(READERS)

    def watched(of: sqlite3.Connection) -> None:
        everybody.wait()  # so that each is another reader
        of.set_trace_callback(plans.append)

    try:
        await store.append_revisions(Writer("w", "a"), (1, 0), [Revision("s1", 0, [(0, True, None)])])
        await store.append_events("t", [RawEvent(Position(0, 0, 0), b"a")])
        await asyncio.gather(*(store._read(watched) for _ in range(READERS)))
        await store.pieces(["a", "b"], 5, 10, keys=["s1"])
        await store.snapshot(["a"], 6, keys=["s1"])
        await store.changed_since(["a"], 0, keys=["s1"])
        asked = {text.strip(): index for text in plans for first, index in expected if first in text}
        assert len(asked) == 4
        for text, index in asked.items():
            steps = await store._read(partial(plan_of, text))
            assert index in steps
            assert "SCAN p" not in steps
    finally:
        await store.close()


@pytest.mark.parametrize("many", [7, 60])
async def test_events_of_a_key_are_found_in_its_blocks(tmp_path: Path, many: int) -> None:
    """Of blocks with a key each, a question about one reads its own, and those that are in no run yet."""
    read: list[str] = []
    with tiny_blocks():
        store = await SqliteStore.open(tmp_path / "history.db")
        try:
            for block in range(many):
                raw = [RawEvent(Position(0, 0, 3 * block + place), b"x") for place in range(3)]
                verdicts = [Verdict(one.position, Outcome.ACCEPTED, block, 30 * block) for one in raw]
                await store.append_events("t", raw, [Judged("t-1", verdicts)])
            everybody = threading.Barrier(READERS)

            def watched(of: sqlite3.Connection) -> None:
                everybody.wait()
                of.set_trace_callback(read.append)

            await asyncio.gather(*(store._read(watched) for _ in range(READERS)))
            found = await store.events("t-1", 0, 30 * many, keys=[3])
            assert [(event.key, event.time) for event in found] == [(3, 90)] * 3
            bodies = {text for text in read if text.startswith("select body from verdict_blocks")}
            assert len(bodies) <= 3
            runs = await store._read(lambda of: of.execute("select level from key_runs").fetchall())
            assert len(runs) <= 3 + many // 4
        finally:
            await store.close()
