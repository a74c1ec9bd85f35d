"""Schema of the SQLite store, version 4, and opening a connection to it.

Names that come again and again (topics, definitions, nodes, keys) are numbers in all other tables.
``event_blocks`` (``sqlite_events``) and ``verdict_blocks`` (``sqlite_verdicts``) have hundreds or thousands
of successive events of a partition a row: a row each with its indexes would take most of what a feeder has.
``verdict_spans``, ``key_runs`` and ``key_pages`` say which blocks have a time, or a key. ``pieces`` are never
changed, but for ``seen_until`` of one that is superseded; they are indexed by (key, node, time), which lanes
ask for, and by time alone. ``lanes`` names the keys of a node, ``origins`` the earliest time of a key's
events, forgotten ones included.

WAL lets readers go on beside the one writer; ``synchronous=FULL`` makes what was committed outlive the
machine. The writer may be any process of this host: transactions are short, and wait for each other.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from timeline_workers.errors import HistoryError, NoHistoryError

from .sqlite_migration import move_to_blocks

VERSION = 4
APPLICATION_ID = 0x744C6873
BUSY_SECONDS = 30.0

_BLOCKS = """
create table event_blocks (
    id integer primary key,
    topic integer not null, partition integer not null, first_major integer not null,
    first_minor integer not null, last_major integer not null, last_minor integer not null,
    many integer not null, bytes integer not null, oldest integer not null,
    places blob not null, body blob not null
);
create unique index event_blocks_in_order on event_blocks (topic, partition, last_major, last_minor);
create table verdict_blocks (
    id integer primary key autoincrement,
    definition integer not null, partition integer not null, first_major integer not null,
    first_minor integer not null, last_major integer not null, last_minor integer not null,
    many integer not null, accepted integer not null, late integer not null, duplicate integer not null,
    refused integer not null, first integer, last integer, first_accepted integer, last_accepted integer,
    first_seen integer not null, last_seen integer not null, untimed integer not null,
    keyed integer not null, body blob not null
);
create unique index verdict_blocks_in_order on verdict_blocks (definition, partition, last_major, last_minor);
create index verdict_blocks_from on verdict_blocks (definition, first_accepted);
create index verdict_blocks_until on verdict_blocks (definition, last_accepted);
create index verdict_blocks_as_seen on verdict_blocks (definition, last_seen);
create index verdict_blocks_untimed on verdict_blocks (definition) where untimed > 0;
create index verdict_blocks_without_run on verdict_blocks (definition, many) where not keyed;
create table verdict_spans (
    definition integer not null, span integer not null, block integer not null,
    primary key (definition, span, block)
) without rowid;
create table key_runs (
    id integer primary key autoincrement, definition integer not null, level integer not null,
    last_block integer not null
);
create index key_runs_of_definition on key_runs (definition, level);
create table key_pages (
    id integer primary key, run integer not null, first integer not null, last integer not null,
    body blob not null
);
create index key_pages_in_order on key_pages (run, last, first);
"""
_TABLES = f"""
create table store (
    one integer primary key check (one = 1),
    seen integer not null,
    kept_from integer
);
create table topics (id integer primary key, name text not null unique);
create table definitions (
    id integer primary key, name text not null unique, topic integer not null references topics,
    kept_from integer
);
create table nodes (id integer primary key, name text not null unique, kept_from integer);
create table keys (id integer primary key, name text not null unique);

{_BLOCKS}
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
# What later versions have added, by the version before each; ``sqlite_migration`` does what takes more.
_LATER = {
    1: """
create table followed (
    definition integer not null, partition integer not null,
    major integer not null, minor integer not null, watermark integer,
    primary key (definition, partition)
) without rowid;
""",
    2: """
alter table definitions add column kept_from integer;
alter table nodes add column kept_from integer;
""",
}


def connect(path: Path, *, read_only: bool = False, create: bool = True) -> sqlite3.Connection:
    """A connection to the store at ``path``, for one thread at a time; transactions are begun by hand.

    ``create``: make the store where there is none. Raises NoHistoryError where none is made, HistoryError for
    a file that is no store, or one of a later release.
    """
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise HistoryError(f"the history {path} cannot be opened: {error}") from error
    try:
        _prepare(connection, path, create)
        connection.execute("pragma synchronous = full")
        # Each of several readers has a cache of its own, and reads what the system has at hand.
        connection.execute(f"pragma cache_size = -{16_384 if read_only else 65_536}")
        connection.execute("pragma wal_autocheckpoint = 4000")  # rows of many keys touch many pages
        connection.execute("pragma journal_size_limit = 67108864")
        if read_only:
            connection.execute("pragma query_only = on")
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, create: bool) -> None:
    """Create what is not there, once for all processes that open the store at one time."""
    try:
        found = _version(connection, path)
        if found == VERSION:
            return
        if found == 0 and not create:
            raise NoHistoryError(str(path))
        connection.execute("pragma journal_mode = wal")
        connection.execute("begin immediate")
        found = _version(connection, path)
        if found == 0:
            _run(connection, _TABLES)
            connection.execute(f"pragma application_id = {APPLICATION_ID}")
        for version in range(found, VERSION) if found else ():
            if version in _LATER:
                _run(connection, _LATER[version])
            else:
                _run(connection, _BLOCKS)
                move_to_blocks(connection)
        connection.execute(f"pragma user_version = {VERSION}")
        connection.execute("commit")
    except sqlite3.DatabaseError as error:
        passing = isinstance(error, sqlite3.OperationalError)
        raise HistoryError(f"the history {path} cannot be opened: {error}", may_pass=passing) from error


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """0 for an empty database. Raises HistoryError where it is somebody else's or a later release's."""
    (application,) = connection.execute("pragma application_id").fetchone()
    (version,) = connection.execute("pragma user_version").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    if application not in (0, APPLICATION_ID) or (tables and application != APPLICATION_ID):
        raise HistoryError(f"{path} is the database of another program; give the history a file of its own")
    if version > VERSION:
        raise HistoryError(
            f"the history {path} has version {version}, and this release reads {VERSION}: use a newer release"
        )
    return int(version)
