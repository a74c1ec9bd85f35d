"""Sorted runs of keys: which blocks of verdicts have a key, in the SQLite store. Calls block.

A row for each key of a block would cost as much as one for each event. So the keys of ``FAN`` blocks are
sorted together and written as pages, a *run*; ``FAN`` of these make a greater one. A question about a key
looks into a page of each run, and into the blocks that are in none yet. A run may name blocks that are there
no more: their numbers do not come again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import numpy as np

from timeline_workers.columns.values import Int64
from timeline_workers.wire.encoding import decoding, pack, pack_ints, unpack, unpack_ints

from .verdict_block import unpack_block

FAN = 16
PAGE = 8_192
LEVELS = 2
WHOLE = 1_024
"""A block of fewer verdicts may still grow: it is in no run."""


def index_keys(connection: sqlite3.Connection, definition: int) -> None:
    """Make a run where there are blocks enough for one; in a transaction."""
    run = connection.execute
    found = run(
        "select id, body from verdict_blocks where definition = ? and not keyed and many >= ? order by id",
        (definition, WHOLE),
    ).fetchall()
    if len(found) < FAN:
        return
    keys, blocks = [], []
    for number, body in found:
        names = np.unique(unpack_block(body).key)
        keys.append(names[names >= 0])
        blocks.append(np.full(len(keys[-1]), number, np.int64))
    _write(connection, definition, 1, np.concatenate(keys), np.concatenate(blocks))
    connection.executemany("update verdict_blocks set keyed = 1 where id = ?", [row[:1] for row in found])
    for level in range(1, LEVELS):
        _merge(connection, definition, level)


def _merge(connection: sqlite3.Connection, definition: int, level: int) -> None:
    run = connection.execute
    runs = [
        row[0]
        for row in run("select id from key_runs where definition = ? and level = ?", (definition, level))
    ]
    if len(runs) < FAN:
        return
    listed = ", ".join(map(str, runs))
    pages = [_unpacked(row[0]) for row in run(f"select body from key_pages where run in ({listed})")]
    keys, blocks = (np.concatenate([page[side] for page in pages]) for side in (0, 1))
    there = np.array(
        [row[0] for row in run("select id from verdict_blocks where definition = ?", (definition,))]
    )
    keep = np.isin(blocks, there)
    _write(connection, definition, level + 1, keys[keep], blocks[keep])
    _drop(connection, runs)


def _write(connection: sqlite3.Connection, definition: int, level: int, keys: Int64, blocks: Int64) -> None:
    if not len(keys):
        return
    run = connection.execute
    number = run(
        "insert into key_runs (definition, level, last_block) values (?, ?, ?)",
        (definition, level, int(blocks.max())),
    ).lastrowid
    order = np.lexsort((blocks, keys))
    keys, blocks = keys[order], blocks[order]
    for low in range(0, len(keys), PAGE):
        page = slice(low, low + PAGE)
        body = pack({"keys": pack_ints(keys[page]), "blocks": pack_ints(blocks[page])})
        run(
            "insert into key_pages (run, first, last, body) values (?, ?, ?, ?)",
            (number, int(keys[page][0]), int(keys[page][-1]), body),
        )


def _unpacked(body: bytes) -> tuple[Int64, Int64]:
    said = unpack(body)
    with decoding("a page of keys"):
        return unpack_ints(said["keys"]), unpack_ints(said["blocks"])


def blocks_of(connection: sqlite3.Connection, definition: int, keys: Sequence[int]) -> list[int]:
    """The blocks that may have events of ``keys``."""
    run = connection.execute
    found = {
        row[0]
        for row in run("select id from verdict_blocks where definition = ? and not keyed", (definition,))
    }
    wanted = np.array(keys, np.int64)
    pages = (
        run(
            f"with wanted(key) as (values {', '.join(f'({key})' for key in keys)}) "
            "select distinct p.id, p.body "
            "from wanted w cross join key_runs r cross join key_pages p on p.run = r.id and p.last >= w.key "
            "and p.first <= w.key where r.definition = ?",
            (definition,),
        )
        if keys
        else ()
    )
    for _, body in pages:
        names, blocks = _unpacked(body)
        found.update(blocks[np.isin(names, wanted)].tolist())
    return sorted(found)


def forget_runs(connection: sqlite3.Connection, definition: int) -> None:
    """Delete runs all of whose blocks are gone, as these are older than the oldest that is there."""
    run = connection.execute
    (oldest,) = run("select min(id) from verdict_blocks where definition = ?", (definition,)).fetchone()
    gone = run(
        "select id from key_runs where definition = ?1 and (?2 is null or last_block < ?2)",
        (definition, oldest),
    ).fetchall()
    _drop(connection, [row[0] for row in gone])


def _drop(connection: sqlite3.Connection, runs: Iterable[int]) -> None:
    rows = [(number,) for number in runs]
    connection.executemany("delete from key_pages where run = ?", rows)
    connection.executemany("delete from key_runs where id = ?", rows)
