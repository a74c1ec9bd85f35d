"""Forgetting in the PostgreSQL store, in short transactions, and its status; see ``sqlite_forget``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .model import DefinitionStatus, Forgotten, Gap, NodeStatus, Outcome, Reach, Status
from .verdicts import OUTCOMES, least_mark

PART = 5_000

_VERDICTS = """
with gone as (
    delete from verdicts where id in (
        (select id from verdicts where definition = $1 and time < $2 limit $3)
        union all
        (select v.id from verdicts v join events e on e.topic = $4 and e.partition = v.partition
         and e.major = v.major and e.minor = v.minor
         where v.definition = $1 and v.time is null and e.published < $2 limit $3))
    returning partition, major, minor)
select partition, major, minor from gone
"""
_EVENTS = """
with gone as (
    delete from events e using unnest($2::int[], $3::bigint[], $4::bigint[]) as p(partition, major, minor)
    where e.topic = $1 and e.partition = p.partition and e.major = p.major and e.minor = p.minor
    and not exists (
        select 1 from verdicts v join definitions d on d.id = v.definition where d.topic = $1
        and v.partition = p.partition and v.major = p.major and v.minor = p.minor)
    returning e.block
), counted as (select block, count(*) as many from gone group by block),
lessened as (update blocks b set live = live - c.many from counted c where b.id = c.block)
select block, many from counted
"""
_ENDED = """
delete from pieces p using unnest($1::bigint[], $2::bigint[]) as l(node, key)
where p.node = l.node and p.key = l.key and p.began < $3 and exists (
    select 1 from pieces later where later.key = p.key and later.node = p.node
        and later.began > p.began and later.began <= $3 and later.seen_from <= p.seen_from
        and (later.seen_until is null or later.seen_until >= p.seen_until))
"""
_IDLE = """
with idle as (
    select l.node, l.key from unnest($1::bigint[], $2::bigint[]) as l(node, key) where not exists (
        select 1 from pieces p where p.node = l.node and p.key = l.key and p.began >= $3)
), gone as (delete from lanes x using idle where x.node = idle.node and x.key = idle.key)
delete from pieces p using idle where p.node = idle.node and p.key = idle.key
"""


async def forget(connection: Any, before: int, idle: int | None) -> AsyncIterator[Forgotten]:
    """Forget, a part for each step; see ``HistoryStore``."""
    await connection.execute("update store set kept_from = greatest(coalesce(kept_from, $1), $1)", before)
    for definition, topic in await connection.fetch("select id, topic from definitions"):
        while True:
            async with connection.transaction():
                gone = await connection.fetch(_VERDICTS, definition, before, PART, topic)
                events = await _forget_events(connection, topic, [tuple(row) for row in gone])
            if not gone:
                break
            yield Forgotten(events, len(gone), 0)
    place: tuple[int, ...] = (-1, -(2**31), -(2**63), -(2**63))
    while rows := await connection.fetch(
        "select topic, partition, major, minor, published from events "
        "where (topic, partition, major, minor) > ($1, $2, $3, $4) "
        "order by topic, partition, major, minor limit $5",
        *place,
        PART,
    ):
        # Events on which there is no verdict at all go by when they were published.
        for topic in {row[0] for row in rows}:
            old = [tuple(row[1:4]) for row in rows if row[0] == topic and row[4] < before]
            async with connection.transaction():
                gone_events = await _forget_events(connection, topic, old)
            yield Forgotten(gone_events, 0, 0)
        place = tuple(rows[-1][:4])
    last = (-1, -1)
    while lanes := await connection.fetch(
        "select node, key from lanes where (node, key) > ($1, $2) order by node, key limit $3", *last, PART
    ):
        nodes, keys = [row[0] for row in lanes], [row[1] for row in lanes]
        async with connection.transaction():
            said = [await connection.execute(_ENDED, nodes, keys, before)]
            if idle is not None:
                said.append(await connection.execute(_IDLE, nodes, keys, min(idle, before)))
        yield Forgotten(0, 0, sum(int(one.rpartition(" ")[2]) for one in said))
        last = (nodes[-1], keys[-1])


async def _forget_events(connection: Any, topic: int, positions: list[tuple[Any, ...]]) -> int:
    if not positions:
        return 0
    columns = [list(column) for column in zip(*positions, strict=True)]
    blocks = await connection.fetch(_EVENTS, topic, *columns)
    await connection.execute(
        "delete from blocks where live = 0 and id = any($1::bigint[])", [row[0] for row in blocks]
    )
    return sum(row[1] for row in blocks)


async def reach(connection: Any, definition: str) -> Reach | None:
    """See ``HistoryStore``."""
    seen, kept_from = await connection.fetchrow("select seen, kept_from from store")
    found = await connection.fetchrow(
        "select d.id, t.name from definitions d join topics t on t.id = d.topic where d.name = $1", definition
    )
    if found is None:
        return None
    ends = [
        await connection.fetchval(
            "select time from verdicts where definition = $1 and outcome = 0 and time is not null "
            f"order by time {way} limit 1",
            found[0],
        )
        for way in ("asc", "desc")
    ]
    return Reach(found[1], seen, ends[0], ends[1], await _source_mark(connection, found[0]), kept_from)


async def _source_mark(connection: Any, definition: int) -> int | None:
    rows = await connection.fetch("select watermark from source_marks where definition = $1", definition)
    return least_mark([row[0] for row in rows], len(rows))


async def status(connection: Any, schema: str) -> Status:
    """See ``HistoryStore``."""
    seen, kept_from = await connection.fetchrow("select seen, kept_from from store")
    server = await connection.fetchval("select current_setting('server_version')")
    events = await connection.fetch(
        "select t.name, count(e.topic) from topics t left join events e on e.topic = t.id "
        "group by t.name order by t.name"
    )
    definitions = []
    for number, name, topic in await connection.fetch(
        "select d.id, d.name, t.name from definitions d join topics t on t.id = d.topic order by d.name"
    ):
        outcomes: dict[Outcome, int] = {}
        for code, many in await connection.fetch(
            "select outcome, count(*) from verdicts where definition = $1 group by outcome", number
        ):
            outcome = OUTCOMES[code // 2]
            outcomes[outcome] = outcomes.get(outcome, 0) + many
        first, last = await connection.fetchrow(
            "select min(time), max(time) from verdicts where definition = $1", number
        )
        mark = await _source_mark(connection, number)
        definitions.append(DefinitionStatus(name, topic, outcomes, first, last, mark))
    nodes = []
    for number, name in await connection.fetch("select id, name from nodes order by name"):
        keys = await connection.fetchval("select count(*) from lanes where node = $1", number)
        writers = await connection.fetch("select watermark, partitions from writers where node = $1", number)
        partitions = max((row[1] for row in writers), default=1)
        nodes.append(NodeStatus(name, keys, least_mark([row[0] for row in writers], partitions)))
    rows = await connection.fetchval("select count(*) from pieces")
    size = await connection.fetchval(
        "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind = 'r'",
        schema,
    )
    gaps = [
        Gap(*row)
        for row in await connection.fetch("select of, since, until, why, seen from gaps order by id")
    ]
    return Status(
        f"PostgreSQL {server}, schema {schema}",
        seen,
        dict(events),
        definitions,
        nodes,
        rows,
        size,
        kept_from,
        gaps,
    )
