"""Questions to the PostgreSQL store, each within a transaction that reads one state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import QuestionError

from .blocks import unpack
from .kept import not_kept
from .model import (
    Changes,
    EventCursor,
    Group,
    KeysActive,
    Outcome,
    Piece,
    PieceCursor,
    Position,
    StoredEvent,
)
from .postgres_days import within
from .row_answers import changes_of, narrowed, piece_of, wants_carried, with_carried
from .text import key_of, key_text
from .verdicts import OUTCOMES


class Given(list[Any]):
    """The arguments of a statement: each is written as the place that it has among them."""

    def __call__(self, value: Any) -> str:
        """Add ``value``; its place, as ``$1``."""
        self.append(value)
        return f"${len(self)}"


async def events(
    connection: Any,
    definition: str,
    start: int,
    end: int,
    *,
    keys: Sequence[Key] | None,
    outcomes: Iterable[Outcome],
    as_of: int | None,
    seen_after: int | None,
    backwards: bool,
    after: EventCursor | None,
    limit: int | None,
) -> list[StoredEvent]:
    """See ``HistoryStore``."""
    number = await _definition(connection, definition)
    await check_kept(connection, start, "definitions", [number])
    start, end = narrowed(start, end, after and after.time, backwards)
    given = Given()
    codes = [2 * OUTCOMES.index(outcome) + below for outcome in outcomes for below in (0, 1)]
    days = await within(connection, start, end)
    of_days = f"{given(days)}::int[]"
    where = [f"v.definition = {given(number)}", f"v.day = any({of_days})"]
    where += [
        f"v.time >= {given(start)}",
        f"v.time < {given(end)}",
        f"v.outcome = any({given(codes)}::int[])",
    ]
    if keys is not None:
        where.append(f"v.key = any({given(await _keys(connection, keys))}::bigint[])")
    if as_of is not None:
        where.append(f"v.seen <= {given(as_of)}")
    if seen_after is not None:
        where.append(f"v.seen > {given(seen_after)}")
    if after is not None:
        place = ", ".join(f"{given(number)}::bigint" for number in (after.time, *after.position))
        where.append(f"(v.time, v.partition, v.major, v.minor) {'<' if backwards else '>'} ({place})")
    way = "desc" if backwards else "asc"
    order = f"order by v.time {way}, v.partition {way}, v.major {way}, v.minor {way}"
    # Each verdict has its event: what is over the limit is cut off before that is looked up, by its place.
    # A day that is new has no statistics yet, from which a plan of a join would follow.
    found = await connection.fetch(
        "select v.partition, v.major, v.minor, e.published, k.name, v.time, v.outcome, v.reason, v.message, "
        "v.seen, e.block, e.place, e.day from "
        f"(select * from verdicts v where {' and '.join(where)} {order} limit {given(limit)}) v "
        "join definitions d on d.id = v.definition cross join lateral (select * from events e "
        "where e.day = v.day and e.topic = d.topic and e.partition = v.partition and e.major = v.major "
        f"and e.minor = v.minor and e.day = any({of_days}) limit 1) e "
        f"left join keys k on k.id = v.key {order}",
        *given,
    )
    blocks = await unpacked(connection, {row[12] for row in found}, {row[10] for row in found})
    return [
        StoredEvent(
            Position(*row[:3]),
            blocks[row[10]][row[11]],
            row[3],
            cast("Key | None", None if row[4] is None else key_of(row[4])),
            row[5],
            OUTCOMES[row[6] // 2],
            row[7] or "",
            row[8] or "",
            bool(row[6] % 2),
            row[9],
        )
        for row in found
    ]


async def unpacked(connection: Any, days: Iterable[int], numbers: Iterable[int]) -> dict[int, list[bytes]]:
    """The payloads in these blocks of days."""
    rows = await connection.fetch(
        "select id, body from blocks where day = any($1::int[]) and id = any($2::bigint[])",
        sorted(days),
        sorted(numbers),
    )
    return {number: unpack(body) for number, body in rows}


async def keys_active(
    connection: Any, definition: str, start: int, end: int, *, as_of: int | None, limit: int
) -> KeysActive:
    """See ``HistoryStore``."""
    number = await _definition(connection, definition)
    await check_kept(connection, start, "definitions", [number])
    found = await connection.fetch(
        "select k.name, a.many, count(*) over () from (select key, count(*) as many from verdicts "
        "where definition = $1 and time >= $2 and time < $3 and outcome = 0 "
        "and ($4::bigint is null or seen <= $4) and day = any($6::int[]) group by key) a "
        "join keys k on k.id = a.key order by a.many desc, k.name limit $5",
        number,
        start,
        end,
        as_of,
        limit,
        await within(connection, start, end),
    )
    return KeysActive(found[0][2] if found else 0, [(cast(Key, key_of(row[0])), row[1]) for row in found])


async def density(
    connection: Any,
    definition: str,
    start: int,
    end: int,
    buckets: int,
    *,
    keys: Sequence[Key] | None,
    as_of: int | None,
) -> Mapping[Outcome, list[int]]:
    """See ``HistoryStore``."""
    if buckets < 1 or end <= start:
        raise QuestionError(
            f"{buckets} parts of [{start}, {end}): a window that ends after it starts has at least 1"
        )
    number = await _definition(connection, definition)
    await check_kept(connection, start, "definitions", [number])
    found: dict[Outcome, list[int]] = {}
    for code, bucket, many in await connection.fetch(
        "select outcome, (time - $2) / $5::bigint as part, count(*) from verdicts where definition = $1 "
        "and time >= $2 and time < $3 and ($4::bigint is null or seen <= $4) "
        "and ($6::bigint[] is null or key = any($6)) and day = any($7::int[]) group by 1, 2",
        number,
        start,
        end,
        as_of,
        -((start - end) // buckets),
        None if keys is None else await _keys(connection, keys),
        await within(connection, start, end),
    ):
        found.setdefault(OUTCOMES[code // 2], [0] * buckets)[bucket] += many
    return found


async def origins(connection: Any, definition: str, keys: Sequence[Key] | None) -> Mapping[Key, int]:
    """See ``HistoryStore``."""
    found = await connection.fetch(
        "select k.name, o.first from origins o join keys k on k.id = o.key where o.definition = $1 "
        "and ($2::bigint[] is null or o.key = any($2))",
        await _definition(connection, definition),
        None if keys is None else await _keys(connection, keys),
    )
    return {cast(Key, key_of(name)): first for name, first in found}


async def pieces(
    connection: Any,
    nodes: Sequence[str],
    start: int,
    end: int,
    *,
    keys: Sequence[Group] | None,
    as_of: int | None,
    carried: bool,
    backwards: bool,
    after: PieceCursor | None,
    limit: int | None,
) -> list[Piece]:
    """See ``HistoryStore``."""
    numbers = await _nodes(connection, nodes)
    await check_kept(connection, start, "nodes", numbers)
    if start >= end:
        return []
    of_keys = None if keys is None else await _keys(connection, keys)
    inside = await _begun(connection, numbers, start, end, of_keys, as_of, backwards, after, limit)
    if not wants_carried(inside, start, carried=carried, backwards=backwards, after=after, limit=limit):
        return inside
    holding = await _holding(connection, numbers, of_keys, start, as_of, limit=None)
    return with_carried(inside, holding, start, backwards=backwards, after=after, limit=limit)


async def _begun(
    connection: Any,
    nodes: Sequence[int],
    start: int,
    end: int,
    keys: Sequence[int] | None,
    as_of: int | None,
    backwards: bool,
    after: PieceCursor | None,
    limit: int | None,
) -> list[Piece]:
    start, end = narrowed(start, end, after and after.start, backwards)
    given = Given()
    select = _piece_of("p", as_of, given)
    where = [
        f"p.node = any({given(nodes)}::bigint[])",
        f"p.began >= {given(start)}",
        f"p.began < {given(end)}",
    ]
    where.append(_known("p", as_of, given))
    if keys is not None:
        where.append(f"p.key = any({given(keys)}::bigint[])")
    if after is not None:
        place = (
            f"({given(after.start)}::bigint, {given(after.node)}::text, {given(key_text(after.key))}::text)"
        )
        where.append(f"(p.began, n.name, k.name) {'<' if backwards else '>'} {place}")
    way = "desc" if backwards else "asc"
    return [
        piece_of(row)
        for row in await connection.fetch(
            f"{select} from pieces p join nodes n on n.id = p.node join keys k on k.id = p.key "
            f"where {' and '.join(where)} order by p.began {way}, n.name {way}, k.name {way} "
            f"limit {given(limit)}",
            *given,
        )
    ]


async def snapshot(
    connection: Any,
    nodes: Sequence[str],
    at: int,
    *,
    keys: Sequence[Group] | None,
    as_of: int | None,
    limit: int | None,
) -> list[Piece]:
    """See ``HistoryStore``."""
    numbers = await _nodes(connection, nodes)
    await check_kept(connection, at, "nodes", numbers)
    of_keys = None if keys is None else await _keys(connection, keys)
    return await _holding(connection, numbers, of_keys, at, as_of, limit=limit)


async def _holding(
    connection: Any,
    nodes: Sequence[int],
    keys: Sequence[int] | None,
    at: int,
    as_of: int | None,
    *,
    limit: int | None,
) -> list[Piece]:
    given = Given()
    select = _piece_of("p", as_of, given)
    of_keys = "" if keys is None else f"and l.key = any({given(keys)}::bigint[])"
    rows = await connection.fetch(
        f"{select} from lanes l join nodes n on n.id = l.node join keys k on k.id = l.key "
        "cross join lateral (select * from pieces h where h.key = l.key and h.node = l.node "
        f"and h.began <= {given(at)} and {_known('h', as_of, given)} order by h.began desc limit 1) p "
        f"where l.node = any({given(nodes)}::bigint[]) {of_keys} "
        f"order by n.name, k.name limit {given(limit)}",
        *given,
    )
    return [piece_of(row) for row in rows]


async def changed_since(
    connection: Any,
    nodes: Sequence[str],
    seen: int,
    *,
    keys: Sequence[Group] | None,
    until: int | None,
    limit: int | None,
) -> Changes:
    """See ``HistoryStore``."""
    last = await connection.fetchval("select seen from store")
    upto = last if until is None else min(until, last)
    which = (
        await _nodes(connection, nodes),
        None if keys is None else await _keys(connection, keys),
        seen,
    )
    of_lanes = "node = any($1::bigint[]) and ($2::bigint[] is null or key = any($2))"
    if limit is not None:
        cut = await connection.fetchval(
            f"select seen_from from pieces where {of_lanes} and seen_from > $3 and seen_from <= $4 "
            f"union all select seen_until from pieces where {of_lanes} and seen_until > $3 "
            "and seen_until <= $4 order by 1 limit 1 offset $5",
            *which,
            upto,
            max(limit, 1) - 1,
        )
        upto = upto if cut is None else cut
    found = await connection.fetch(
        f"""
        with touched as (
            select node, key, began, seen_from as seen from pieces
            where {of_lanes} and seen_from > $3 and seen_from <= $4
                and (seen_until is null or seen_until > $4)
            union all
            select node, key, began, seen_until from pieces
            where {of_lanes} and seen_until > $3 and seen_until <= $4 and seen_from <= $3
        ), lanes_touched as (
            select node, key, min(began) as since, max(began) as last, max(seen) as seen
            from touched group by node, key
        )
        select n.name, k.name, t.since,
            (select u.began from pieces u where u.key = t.key and u.node = t.node and u.began > t.last
             and u.seen_from <= $4 and (u.seen_until is null or u.seen_until > $4) order by u.began limit 1),
            t.seen
        from lanes_touched t join nodes n on n.id = t.node join keys k on k.id = t.key
        order by t.seen, n.name, k.name
        """,
        *which,
        upto,
    )
    return changes_of(found, upto, seen, last)


async def kept_of(connection: Any, table: str, numbers: Sequence[int]) -> int | None:
    """From where on all of these rows of ``table``, definitions or nodes, are kept."""
    found = await connection.fetchval(
        "select max(kept) from (select kept_from as kept from store union all "
        f"select kept_from from {table} where id = any($1::bigint[])) as bounds",
        numbers,
    )
    return None if found is None else int(found)


async def check_kept(connection: Any, start: int, table: str, numbers: Sequence[int]) -> None:
    """Raise QuestionError for an instant below what is kept of these rows of ``table``."""
    kept_from = await kept_of(connection, table, numbers)
    if kept_from is not None and start < kept_from:
        raise not_kept(start, kept_from)


def _known(row: str, as_of: int | None, given: Given) -> str:
    if as_of is None:
        return f"{row}.seen_until is null"
    when = given(as_of)
    return f"{row}.seen_from <= {when} and ({row}.seen_until is null or {row}.seen_until > {when})"


def _piece_of(row: str, as_of: int | None, given: Given) -> str:
    return (
        f"select n.name, k.name, {row}.began, (select u.began from pieces u where u.key = {row}.key "
        f"and u.node = {row}.node and u.began > {row}.began and {_known('u', as_of, given)} "
        f"order by u.began limit 1), {row}.value, {row}.slope, {row}.seen_from, {row}.seen_until"
    )


async def _definition(connection: Any, name: str) -> int:
    """The number of a definition; 0, that of none, for one of which nothing is stored."""
    return await connection.fetchval("select id from definitions where name = $1", name) or 0


async def _nodes(connection: Any, names: Iterable[str]) -> list[int]:
    return await _numbers(connection, "nodes", set(names))


async def _keys(connection: Any, keys: Iterable[Group]) -> list[int]:
    return await _numbers(connection, "keys", {key_text(key) for key in keys})


async def _numbers(connection: Any, table: str, names: set[str]) -> list[int]:
    found = await connection.fetch(f"select id from {table} where name = any($1::text[])", sorted(names))
    return sorted(row[0] for row in found)
