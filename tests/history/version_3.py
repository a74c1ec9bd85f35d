"""A SQLite store as version 3 wrote it: a row for each event and verdict."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from timeline_workers.history.blocks import pack
from timeline_workers.history.model import Judged, RawEvent
from timeline_workers.history.sqlite_schema import APPLICATION_ID
from timeline_workers.history.text import key_text
from timeline_workers.history.verdicts import code_of, origins_of

_TABLES = """
create table store (one integer primary key check (one = 1), seen integer not null, kept_from integer);
create table topics (id integer primary key, name text not null unique);
create table definitions (
    id integer primary key, name text not null unique, topic integer not null references topics,
    kept_from integer
);
create table nodes (id integer primary key, name text not null unique, kept_from integer);
create table keys (id integer primary key, name text not null unique);
create table blocks (id integer primary key, live integer not null, body blob not null);
create table events (
    topic integer not null, partition integer not null, major integer not null, minor integer not null,
    published integer not null, block integer not null, place integer not null,
    primary key (topic, partition, major, minor)
) without rowid;
create table verdicts (
    id integer primary key,
    definition integer not null, partition integer not null, major integer not null, minor integer not null,
    outcome integer not null, key integer, time integer, seen integer not null, reason text, message text
);
create unique index verdict_of_position on verdicts (definition, partition, major, minor);
create index verdicts_of_key on verdicts (definition, key, time);
create index verdicts_in_time on verdicts (definition, time, outcome, key);
create index verdicts_as_seen on verdicts (definition, seen);
create table origins (
    definition integer not null, key integer not null, first integer not null, primary key (definition, key)
) without rowid;
create table source_marks (
    definition integer not null, partition integer not null, watermark integer,
    primary key (definition, partition)
) without rowid;
create table followed (
    definition integer not null, partition integer not null,
    major integer not null, minor integer not null, watermark integer,
    primary key (definition, partition)
) without rowid;
create table pieces (
    id integer primary key,
    key integer not null, node integer not null, began integer not null,
    value text not null, slope text, seen_from integer not null, seen_until integer
);
create index pieces_of_key on pieces (key, node, began);
create index pieces_in_time on pieces (node, began);
create index pieces_as_seen on pieces (node, seen_from);
create index pieces_superseded on pieces (node, seen_until) where seen_until is not null;
create table lanes (node integer not null, key integer not null, primary key (node, key)) without rowid;
create table writers (
    name text primary key, node integer not null, partitions integer not null,
    stamp_major integer not null, stamp_minor integer not null, watermark integer
) without rowid;
create table gaps (
    id integer primary key, of text not null, since integer, until integer, why text not null,
    seen integer not null
);
insert into store values (1, 0, null);
"""


def write_version_3(path: Path, topic: str, appends: Sequence[tuple[list[RawEvent], Judged]]) -> None:
    """Make a store with these appends, seen at 1, 2, …; of events and verdicts each once."""
    store = sqlite3.connect(path)
    store.executescript(_TABLES)
    store.execute(f"pragma application_id = {APPLICATION_ID}")
    store.execute("pragma user_version = 3")
    run = store.execute
    run("insert into topics values (1, ?)", (topic,))
    for seen, (events, judged) in enumerate(appends, 1):
        block = run(
            "insert into blocks (live, body) values (?, ?)",
            (len(events), pack([event.payload for event in events])),
        ).lastrowid
        for place, event in enumerate(events):
            run(
                "insert into events values (1, ?, ?, ?, ?, ?, ?)",
                (*event.position, event.published, block, place),
            )
        run("insert or ignore into definitions (name, topic) values (?, 1)", (judged.definition,))
        (definition,) = run("select id from definitions where name = ?", (judged.definition,)).fetchone()
        for v in judged.verdicts:
            key = None if v.key is None else key_text(v.key)
            run("insert or ignore into keys (name) values (?)", (key,)) if key else None
            run(
                "insert into verdicts (definition, partition, major, minor, outcome, key, time, seen, "
                "reason, message) values (?, ?, ?, ?, ?, (select id from keys where name = ?), ?, ?, ?, ?)",
                (
                    *(definition, *v.position, code_of(v.outcome, v.below), key, v.time, seen),
                    *(v.reason or None, v.message or None),
                ),
            )
        for key, first in origins_of(judged.verdicts).items():
            run(
                "insert into origins select ?, id, ? from keys where name = ? "
                "on conflict do update set first = min(first, excluded.first)",
                (definition, first, key_text(key)),
            )
        for partition, at in judged.followed.items():
            run("insert or replace into followed values (?, ?, ?, ?, ?)", (definition, partition, *at))
    run("update store set seen = ?", (len(appends),))
    store.commit()
    store.close()
