"""Forgetting in the PostgreSQL store, in short transactions, and its status; see ``sqlite_forget``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import product
from typing import Any

from . import postgres_days
from .model import Contents, DefinitionStatus, Forgotten, Gap, NodeStatus, Outcome, Reach, Scope, Status
from .postgres_read import kept_of
from .verdicts import OUTCOMES, least_mark, node_mark

PART = 5_000

_VERDICTS = """
with old as (
    (select v.partition, v.major, v.minor from verdicts v
     where v.day = $5 and v.definition = $1 and v.time < $2 limit $3)
    union all
    (select v.partition, v.major, v.minor from verdicts v
     join events e on e.day = $5 and e.topic = $4 and e.partition = v.partition
        and e.major = v.major and e.minor = v.minor
     where v.day = $5 and v.definition = $1 and v.time is null and e.published < $2 limit $3)
)
delete from verdicts v using old where v.day = $5 and v.definition = $1
    and v.partition = old.partition and v.major = old.major and v.minor = old.minor
returning v.partition, v.major, v.minor
"""
_EVENTS = """
with gone as (
    delete from events e using unnest($2::int[], $3::bigint[], $4::bigint[]) as p(partition, major, minor)
    where e.day = $5 and e.topic = $1
    and e.partition = p.partition and e.major = p.major and e.minor = p.minor
    and not exists (
        select 1 from verdicts v join definitions d on d.id = v.definition where v.day = $5
        and d.topic = $1 and v.partition = p.partition and v.major = p.major and v.minor = p.minor)
    returning e.block
), counted as (select block, count(*) as many from gone group by block),
lessened as (update blocks b set live = live - c.many from counted c where b.day = $5 and b.id = c.block)
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


# Events without a verdict lie below all that is kept by any definition of their topic, or of the store.
_UNJUDGED = """
select t.id, greatest(min(coalesce(d.kept_from, $1)), (select coalesce(kept_from, $1) from store))
from topics t left join definitions d on d.topic = t.id group by t.id
"""
_NEVER = -(2**62)


async def forget(
    connection: Any, before: int, idle: int | None, of: Scope | None
) -> AsyncIterator[Forgotten]:
    """Forget, a part for each step; see ``HistoryStore``."""
    async with connection.transaction():
        definitions = await _raised(connection, "definitions", before, None if of is None else of.definitions)
        numbers = await _raised(connection, "nodes", before, None if of is None else of.nodes)
        if of is None:
            raised = "update store set kept_from = greatest(coalesce(kept_from, $1), $1)"
            await connection.execute(raised, before)
    async for dropped in postgres_days.drop(connection, before, definitions):
        yield dropped
    topics = await connection.fetch(
        "select id, topic from definitions where id = any($1::bigint[])", definitions
    )
    for day, (definition, topic) in product(await postgres_days.below(connection, before), topics):
        while True:
            async with connection.transaction():
                gone = await connection.fetch(_VERDICTS, definition, before, PART, topic, day)
                events = await _forget_events(connection, topic, day, [tuple(row) for row in gone])
            if not gone:
                break
            yield Forgotten(events, len(gone), 0)
    async for dropped in postgres_days.drop(connection, before, definitions):  # those that are empty now
        yield dropped
    for topic, kept_from in await connection.fetch(_UNJUDGED, _NEVER):
        async for gone_events in _forget_unjudged(connection, topic, kept_from):
            yield Forgotten(gone_events, 0, 0)
    last = (-1, -1)
    while lanes := await connection.fetch(
        "select node, key from lanes where node = any($4::bigint[]) and (node, key) > ($1, $2) "
        "order by node, key limit $3",
        *last,
        PART,
        numbers,
    ):
        nodes, keys = [row[0] for row in lanes], [row[1] for row in lanes]
        async with connection.transaction():
            said = [await connection.execute(_ENDED, nodes, keys, before)]
            if idle is not None:
                said.append(await connection.execute(_IDLE, nodes, keys, min(idle, before)))
        yield Forgotten(0, 0, sum(int(one.rpartition(" ")[2]) for one in said))
        last = (nodes[-1], keys[-1])


async def _raised(connection: Any, table: str, before: int, names: Sequence[str] | None) -> list[int]:
    """Raise the bound of these rows of ``table``, None: of all; their numbers."""
    if names is None:
        found = await connection.fetch(f"select id from {table}")
    else:
        found = await connection.fetch(
            f"update {table} set kept_from = greatest(coalesce(kept_from, $1), $1) "
            "where name = any($2::text[]) returning id",
            before,
            list(names),
        )
    return [row[0] for row in found]


async def _forget_unjudged(connection: Any, topic: int, before: int) -> AsyncIterator[int]:
    """Events on which there is no verdict at all, all of no day, go by when they were published."""
    place: tuple[int, ...] = (-(2**31), -(2**63), -(2**63))
    while before > _NEVER and (
        rows := await connection.fetch(
            "select partition, major, minor, published from events where day = $6 and topic = $1 "
            "and (partition, major, minor) > ($2, $3, $4) order by partition, major, minor limit $5",
            topic,
            *place,
            PART,
            postgres_days.ODD,
        )
    ):
        old = [tuple(row[:3]) for row in rows if row[3] < before]
        async with connection.transaction():
            yield await _forget_events(connection, topic, postgres_days.ODD, old)
        place = tuple(rows[-1][:3])


async def _forget_events(connection: Any, topic: int, day: int, positions: list[tuple[Any, ...]]) -> int:
    if not positions:
        return 0
    columns = [list(column) for column in zip(*positions, strict=True)]
    blocks = await connection.fetch(_EVENTS, topic, *columns, day)
    await connection.execute(
        "delete from blocks where day = $1 and live = 0 and id = any($2::bigint[])",
        day,
        [row[0] for row in blocks],
    )
    return sum(row[1] for row in blocks)


async def reach(connection: Any, definition: str) -> Reach | None:
    """See ``HistoryStore``."""
    seen = await connection.fetchval("select seen from store")
    found = await connection.fetchrow(
        "select d.id, t.name from definitions d join topics t on t.id = d.topic where d.name = $1", definition
    )
    if found is None:
        return None
    ends = [await postgres_days.extreme(connection, found[0], way) for way in ("asc", "desc")]
    kept_from = await kept_of(connection, "definitions", [found[0]])
    return Reach(found[1], seen, ends[0], ends[1], await _source_mark(connection, found[0]), kept_from)


async def _source_mark(connection: Any, definition: int) -> int | None:
    rows = await connection.fetch("select watermark from source_marks where definition = $1", definition)
    return least_mark([row[0] for row in rows], len(rows))


async def contents(connection: Any) -> Contents:
    """See ``HistoryStore``."""
    seen, kept_from = await connection.fetchrow("select seen, kept_from from store")
    topics = await connection.fetch(
        "select d.name, t.name from definitions d join topics t on t.id = d.topic order by d.name"
    )
    nodes = await connection.fetch("select name from nodes")
    return Contents(
        seen, dict(topics), frozenset(row[0] for row in nodes), kept_from, await _gaps(connection)
    )


async def _gaps(connection: Any) -> list[Gap]:
    rows = await connection.fetch("select of, since, until, why, seen from gaps order by id")
    return [Gap(*row) for row in rows]


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
        kept = await kept_of(connection, "definitions", [number])
        definitions.append(DefinitionStatus(name, topic, outcomes, first, last, mark, kept))
    nodes = []
    for number, name in await connection.fetch("select id, name from nodes order by name"):
        keys = await connection.fetchval("select count(*) from lanes where node = $1", number)
        writers = await connection.fetch("select watermark, partitions from writers where node = $1", number)
        mark = node_mark([tuple(row) for row in writers])
        nodes.append(NodeStatus(name, keys, mark, await kept_of(connection, "nodes", [number])))
    rows = await connection.fetchval("select count(*) from pieces")
    size = await connection.fetchval(
        "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind = 'r'",
        schema,
    )
    return Status(
        f"PostgreSQL {server}, schema {schema}",
        seen,
        dict(events),
        definitions,
        nodes,
        rows,
        size,
        kept_from,
        await _gaps(connection),
    )
