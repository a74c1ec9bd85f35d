"""Schema of the PostgreSQL store, version 4: that of the SQLite store (``sqlite_schema``), in a schema of its
own. Texts sort by code point (``collate "C"``).
"""

from __future__ import annotations

from typing import Any

from timeline_workers.errors import HistoryError

VERSION = 4
_CREATING = 0x744C6873  # the advisory lock of who creates the tables

_TABLES = """
create table store (
    one integer primary key check (one = 1), version integer not null, seen bigint not null, kept_from bigint
);
create table topics (
    id bigint generated always as identity primary key, name text collate "C" not null unique
);
create table definitions (
    id bigint generated always as identity primary key, name text collate "C" not null unique,
    topic bigint not null references topics
);
create table nodes (
    id bigint generated always as identity primary key, name text collate "C" not null unique
);
create table keys (
    id bigint generated always as identity primary key, name text collate "C" not null unique
);

create table blocks (
    id bigint generated always as identity primary key, live integer not null, body bytea not null
);
create table events (
    topic bigint not null, partition integer not null, major bigint not null, minor bigint not null,
    published bigint not null, block bigint not null, place integer not null,
    primary key (topic, partition, major, minor)
);

create table verdicts (
    id bigint generated always as identity primary key,
    definition bigint not null, partition integer not null, major bigint not null, minor bigint not null,
    outcome smallint not null, key bigint, time bigint, seen bigint not null, reason text, message text,
    unique (definition, partition, major, minor)
);
create index on verdicts (definition, key, time);
create index on verdicts (definition, time, outcome, key);
create index on verdicts (definition, seen);
create table origins (
    definition bigint not null, key bigint not null, first bigint not null, primary key (definition, key)
);
create table source_marks (
    definition bigint not null, partition integer not null, watermark bigint,
    primary key (definition, partition)
);

create table pieces (
    id bigint generated always as identity primary key,
    key bigint not null, node bigint not null, began bigint not null,
    value text not null, slope text, seen_from bigint not null, seen_until bigint
);
create index on pieces (key, node, began);
create index on pieces (node, began);
create index on pieces (node, seen_from);
create index on pieces (node, seen_until) where seen_until is not null;
create table lanes (node bigint not null, key bigint not null, primary key (node, key));
create table writers (
    name text collate "C" primary key, node bigint not null, partitions integer not null,
    stamp_major bigint not null, stamp_minor bigint not null, watermark bigint
);
create table gaps (
    id bigint generated always as identity primary key, of text not null, since bigint, until bigint,
    why text not null, seen bigint not null
);
"""
# What each later version has added, by the version before it.
_LATER = {
    1: """
create table followed (
    definition bigint not null, partition integer not null,
    major bigint not null, minor bigint not null, watermark bigint,
    primary key (definition, partition)
);
""",
    2: """
alter table definitions add column kept_from bigint;
alter table nodes add column kept_from bigint;
""",
    # What is there stays as it is, in the tables of no day (-1); see ``postgres_days``.
    3: """
create table days (day integer primary key, since bigint, until bigint);
insert into days select -1, min(coalesce(v.time, e.published)), max(coalesce(v.time, e.published))
    from verdicts v join definitions d on d.id = v.definition join events e on e.topic = d.topic
    and e.partition = v.partition and e.major = v.major and e.minor = v.minor;

alter table blocks rename to blocks_odd;
alter table blocks_odd drop constraint blocks_pkey, alter column id drop identity,
    add column day integer not null default -1;
create table blocks (
    day integer not null, id bigint generated always as identity, live integer not null, body bytea not null,
    primary key (id, day)
) partition by list (day);
alter table blocks attach partition blocks_odd for values in (-1);
select setval(
    pg_get_serial_sequence('blocks', 'id'), (select coalesce(max(id), 0) + 1 from blocks_odd), false
);

alter table events rename to events_odd;
alter table events_odd drop constraint events_pkey, add column day integer not null default -1;
create table events (
    day integer not null,
    topic bigint not null, partition integer not null, major bigint not null, minor bigint not null,
    published bigint not null, block bigint not null, place integer not null,
    primary key (topic, partition, major, minor, day)
) partition by list (day);
alter table events attach partition events_odd for values in (-1);

alter table verdicts rename to verdicts_odd;
alter table verdicts_odd drop constraint verdicts_definition_partition_major_minor_key, drop column id,
    add column day integer not null default -1;
create table verdicts (
    day integer not null,
    definition bigint not null, partition integer not null, major bigint not null, minor bigint not null,
    outcome smallint not null, key bigint, time bigint, seen bigint not null, reason text, message text,
    primary key (definition, partition, major, minor, day)
) partition by list (day);
create index on verdicts (definition, key, time);
create index on verdicts (definition, time, outcome, key);
create index on verdicts (definition, seen);
alter table verdicts attach partition verdicts_odd for values in (-1);
""",
}


async def exists(connection: Any, schema: str) -> bool:
    """Whether there is anything in ``schema``, a store of ours or not."""
    tables = "select exists (select from pg_tables where schemaname = $1)"
    return bool(await connection.fetchval(tables, schema))


async def prepare(connection: Any, schema: str) -> None:
    """Create what is not there, once for all who open the store at one time.

    Raises HistoryError for a schema of a later release, or with tables of somebody else.
    """
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _CREATING)
        await connection.execute(f'create schema if not exists "{schema}"')
        tables = {
            row[0]
            for row in await connection.fetch("select tablename from pg_tables where schemaname = $1", schema)
        }
        if tables and "store" not in tables:
            raise HistoryError(
                f"schema {schema!r} has tables of another program; give the history one of its own"
            )
        if not tables:
            await connection.execute(_TABLES)
            await connection.execute("insert into store values (1, 1, 0, null)")
        version = await connection.fetchval("select version from store")
        if version > VERSION:
            raise HistoryError(
                f"the history in schema {schema!r} has version {version}, and this release reads {VERSION}: "
                "use a newer release"
            )
        for older in range(version, VERSION):
            await connection.execute(_LATER[older])
        if version < VERSION:
            await connection.execute("update store set version = $1", VERSION)
